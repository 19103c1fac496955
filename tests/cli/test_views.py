from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import small_data

from blocklearn.__main__ import main
from blocklearn.data import Digits


@pytest.mark.parametrize("count", [1, 3])
def test_the_views_are_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    out = tmp_path / "views.png"
    arguments = ["views", "--config", "bt_digits.yaml", f"--count={count}", f"--out={out}"]
    assert main(arguments) == 0
    assert f"Written: {out}" in capsys.readouterr().out
    assert out.is_file()


def test_views_says_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["views", "--config", "bt_digits.yaml", "--count=0"]) == 1
    assert "--count must be at least 1" in capsys.readouterr().err


def test_what_is_shown_of_a_view_are_the_pixels_that_were_fed() -> None:
    data = Digits(image_size=8)
    data.setup("test")
    pixels = np.asarray(data.test_samples()[3][0]) / 255
    view = data.recipe.plain_view(Image.fromarray((255 * pixels).astype(np.uint8)))
    assert np.allclose(data.as_seen(view[None])[0], pixels, atol=1e-6)


def test_what_is_brighter_than_an_image_can_be_is_cut_and_grey_is_shown_in_grey() -> None:
    seen = small_data().as_seen(torch.full((1, 1, 4, 4), 50.0))
    assert seen.shape == (1, 4, 4, 3)
    assert (seen == 1).all()
