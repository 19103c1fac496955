"""Small folders of images, as they are and packed."""

from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = ("jpeg", "png", "gif", "webp", "tga", "bmp", "tiff")


def image_folder(
    root: Path,
    splits: dict[str, int],
    classes: tuple[str, ...] = ("cat", "dog"),
    suffixes: tuple[str, ...] = SUFFIXES,
    bad: tuple[int, ...] = (),
) -> Path:
    """`root/SPLIT/CLASS/NUMBER.SUFFIX`, of changing kind, size and mode.

    Args:
        root: is made.
        splits: images of each class, by split.
        classes: their names.
        suffixes: taken in turn.
        bad: numbers of the images that are cut off.
    """
    draw = np.random.default_rng(0)
    for split, count in splits.items():
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                channels = 4 if number % 3 == 2 and suffixes[number % len(suffixes)] == "png" else 3
                size = (20 + number % 5, 24, channels)
                path = folder / f"{number:02}.{suffixes[number % len(suffixes)]}"
                Image.fromarray(draw.integers(0, 255, size, dtype=np.uint8)).save(path)
                if number in bad:
                    path.write_bytes(path.read_bytes()[:90])
    return root
