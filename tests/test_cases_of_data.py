"""Folders of images that people brought, trained on and probed by the commands."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import NARROW

from blocklearn.__main__ import main

SMALL = [
    "--config=bt_digits.yaml",
    "--data=ImageFolder",
    "--data.recipe=BarlowTwinsViews",
    "--data.image_size=32",
    "--data.batch_size=8",
    "--data.num_workers=0",
    *NARROW,
    "--model.lr_schedule.warmup_epochs=0",
    "--trainer.max_epochs=1",
    "--trainer.limit_val_batches=0",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--probe.epochs=40",
]
Save = Callable[[np.ndarray, Path], None]


def stripes(steep: bool, number: int) -> np.ndarray:
    """`(48, 48)` in [0, 1]."""
    rows, columns = np.mgrid[:48, :48] / 48
    draw = np.random.default_rng(number + 1000 * steep)
    wave = np.sin(2 * np.pi * (5 * (rows if steep else columns) + draw.random()))
    return np.clip(0.5 + 0.4 * wave + draw.normal(0, 0.05, (48, 48)), 0, 1)


def sky_and_ground(light_above: bool, number: int) -> np.ndarray:
    draw = np.random.default_rng(number + 1000 * light_above)
    above, below = (0.85, 0.25) if light_above else (0.25, 0.85)
    return np.clip(
        np.where(np.arange(48)[:, None] < 24, above, below) + draw.normal(0, 0.04, (48, 48)), 0, 1
    )


def save_plain(values: np.ndarray, path: Path) -> None:
    Image.fromarray((values * 255).astype(np.uint8)).save(path)


def folder(
    root: Path, save: Save, suffix: str, make: Callable[[bool, int], np.ndarray] = stripes
) -> Path:
    for split, count in (("train", 16), ("val", 8)):
        for label in (False, True):
            place = root / split / f"class{int(label)}"
            place.mkdir(parents=True)
            for number in range(count):
                save(make(label, number + 100 * (split == "val")), place / f"{number:02d}{suffix}")
    return root


def probed(root: Path, run: Path) -> float:
    """Train, probe, and take the best accuracy of any stage."""
    common = [*SMALL, f"--data.root={root}", f"--trainer.default_root_dir={run}"]
    assert main(["fit", *common]) == 0
    assert main(["test", *common, f"--model.checkpoint={run / 'checkpoints' / 'last.ckpt'}"]) == 0
    return max(
        row["top1"] for row in json.loads((run / "probe" / "results.json").read_text())["rows"]
    )


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("uint8", ".png"), ("uint16", ".png"), ("int32", ".tiff"), ("float32", ".tiff")],
)
def test_deep_images_are_learned_from_like_plain_ones(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    """Case 1: every pixel white, or black, and probes at chance."""
    white = {"uint8": 255, "uint16": 60000, "int32": 60000, "float32": 1}[kind]
    root = folder(
        tmp_path / "data",
        lambda values, path: Image.fromarray((values * white).astype(kind)).save(path),
        suffix,
    )
    assert probed(root, tmp_path / "run") > 0.9


def test_photos_that_are_stored_upside_down_are_probed_upright(tmp_path: Path) -> None:
    """Case 3: the tag was ignored, and probes had 0 %."""

    def save(values: np.ndarray, path: Path) -> None:
        image, exif = Image.fromarray((values * 255).astype(np.uint8)), Image.Exif()
        if "val" in path.parts:
            image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_180), 3
        image.save(path, exif=exif)

    assert probed(folder(tmp_path / "data", save, ".jpg", sky_and_ground), tmp_path / "run") > 0.9


@pytest.mark.parametrize(
    ("recipe", "remedy"),
    [
        ("BarlowTwinsViews", "add in_chans: 3 to --model.network.backbone_kwargs\n"),
        (
            "CropViews",
            "add in_chans: 3 to --model.network.backbone_kwargs, or set --data.recipe.greyscale "
            "true\n",
        ),
    ],
)
def test_a_network_of_one_channel_is_told_what_this_recipe_can_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str, remedy: str
) -> None:
    """Case 11: "change greyscale", which is a probability there."""
    root = folder(
        tmp_path / "data",
        lambda values, path: Image.fromarray((values * 255).astype(np.uint8)).save(path),
        ".png",
    )
    one = "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8], in_chans: 1}"
    arguments = [*SMALL, f"--data.root={root}", f"--data.recipe={recipe}", one]
    assert main(["fit", *arguments, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 1
    assert capsys.readouterr().err.endswith(
        f"backbone: resnet18 takes 1 channels, the data makes 3: {remedy}"
    )
