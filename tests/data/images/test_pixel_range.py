"""No depth turns white, black or noise in silence."""

from pathlib import Path

import numpy as np
import pytest
from image_files import tiff
from PIL import Image

from blocklearn.data.images.decoding import read_image
from blocklearn.errors import UnreadableSample

RAMP = np.linspace(0, 1, 64)[None].repeat(2, 0)
BOTTOM = (RAMP * 250).astype(np.uint16)


def shades(path: Path) -> list[int]:
    return np.asarray(read_image(path))[0, :, 0].tolist()


def is_a_ramp(found: list[int]) -> bool:
    return bool(np.abs(np.array(found) - np.linspace(0, 255, 64)).max() <= 3)


def test_16_bits_that_would_all_be_black_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(BOTTOM).save(tmp_path / "a.png")
    (tmp_path / "b.pgm").write_bytes(b"P5\n64 2\n65535\n" + BOTTOM.astype(">u2").tobytes())
    (tmp_path / "c.tiff").write_bytes(tiff(BOTTOM, 16))
    (tmp_path / "white_as_zero.tiff").write_bytes(tiff(BOTTOM, 16, photometric=0))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(
            UnreadableSample,
            match=f"{path}: its values, 0 to 250, cannot be told apart on their scale",
        ):
            read_image(path)


def test_a_black_picture_and_a_dark_map_of_few_values_stay_what_they_are(tmp_path: Path) -> None:
    for most in (0, 10, 200):
        Image.fromarray(np.array([[0, most]], np.uint16)).save(tmp_path / "a.png")
        assert max(shades(tmp_path / "a.png")) <= 1


@pytest.mark.parametrize("white", [1.03, 1e-4, 3.5])
def test_floats_that_a_scale_of_255_or_1_would_make_black_take_their_own(
    tmp_path: Path, white: float
) -> None:
    """1.03 is what a resampling leaves of [0, 1]."""
    Image.fromarray((RAMP * white).astype(np.float32)).save(tmp_path / "a.tiff")
    assert is_a_ramp(shades(tmp_path / "a.tiff"))


def test_signed_bytes_and_unsigned_32_bits_are_no_noise(tmp_path: Path) -> None:
    """PIL's modes have no sign for the first, and one for the second: half of each wraps around."""
    (tmp_path / "a.tiff").write_bytes(tiff(np.rint(RAMP * 200 - 100), 8, kind=2))
    (tmp_path / "b.tiff").write_bytes(tiff(np.rint(RAMP * 4.2e9), 32))
    assert is_a_ramp(shades(tmp_path / "a.tiff"))
    assert is_a_ramp(shades(tmp_path / "b.tiff"))
