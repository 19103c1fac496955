"""scikit-learn's digits: real data that is always at hand."""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from blocklearn.data.images.glyph_views import GlyphViews
from blocklearn.data.images.image_datamodule import ImageDataModule, RecipeFactory
from blocklearn.data.loader import LabelledSamples


class Digits(ImageDataModule):
    """1,797 handwritten digits, 8 x 8 grey pixels, embedded in scikit-learn: nothing is downloaded.
    A stratified 20 % is held out for testing, the same in every run.

    Args:
        batch_size: samples of a batch, over all processes.
        num_workers: loader processes.
        image_size: the 8 x 8 pixels are enlarged to this size.
        recipe: makes the views.
        kwargs: the arguments of `ImageDataModule`; `root` is not used.
    """

    title = "digits"
    num_classes = 10
    mean = (0.305,) * 3
    std = (0.330,) * 3

    def __init__(
        self,
        batch_size: int = 64,
        num_workers: int = 0,
        image_size: int = 20,
        recipe: RecipeFactory = GlyphViews,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            recipe, batch_size=batch_size, num_workers=num_workers, image_size=image_size, **kwargs
        )

    def pretraining_samples(self) -> LabelledSamples:
        return load_digits()[0]

    def test_samples(self) -> LabelledSamples:
        return load_digits()[1]


class ImageArray:
    """Grey or RGB images in memory.

    Args:
        pixels: `(N, H, W)` or `(N, H, W, 3)`, uint8.
        labels: `(N,)` integers.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels = pixels
        self.labels = labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels[index]).convert("RGB"), int(self.labels[index])


@cache
def load_digits() -> tuple[ImageArray, ImageArray]:
    """Training and test part."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    bunch = datasets.load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)  # pyright: ignore[reportAttributeAccessIssue]
    labels = bunch.target  # pyright: ignore[reportAttributeAccessIssue]
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
    )
    return ImageArray(pixels[train], labels[train]), ImageArray(pixels[test], labels[test])
