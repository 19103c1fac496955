"""Images made on the fly, for tests and benchmarks."""

from typing import Any

import numpy as np
from PIL import Image

from blocklearn.data.images.image_datamodule import ImageDataModule, RecipeFactory
from blocklearn.data.images.views import SmallImageViews
from blocklearn.data.loader import LabelledSamples


class Synthetic(ImageDataModule):
    """Noisy colour gratings whose orientation is their class. Image `i` is a function of (part,
    `i`) alone.

    Args:
        batch_size: samples of a batch, over all processes.
        num_workers: loader processes.
        image_size: pixels of image and view.
        recipe: makes the views.
        num_classes: number of orientations.
        num_images: for training; a quarter as many for testing.
        kwargs: the arguments of `ImageDataModule`; `root` is not used.
    """

    title = "synthetic"

    def __init__(
        self,
        batch_size: int = 32,
        num_workers: int = 0,
        image_size: int = 32,
        recipe: RecipeFactory = SmallImageViews,
        num_classes: int = 4,
        num_images: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            recipe, batch_size=batch_size, num_workers=num_workers, image_size=image_size, **kwargs
        )
        self.num_classes = num_classes
        self.num_images = num_images

    def pretraining_samples(self) -> LabelledSamples:
        return Gratings(self.num_images, self.image_size, self.num_classes, part=0)

    def test_samples(self) -> LabelledSamples:
        return Gratings(self.num_images // 4, self.image_size, self.num_classes, part=1)


class Gratings:
    def __init__(self, count: int, size: int, num_classes: int, part: int) -> None:
        self.count, self.size, self.num_classes, self.part = count, size, num_classes, part

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        label = index % self.num_classes
        draw = np.random.default_rng((self.part, index))
        rows, columns = np.mgrid[: self.size, : self.size] / self.size
        angle = np.pi * label / self.num_classes
        wave = np.sin(
            2 * np.pi * (4 * (rows * np.sin(angle) + columns * np.cos(angle)) + draw.random())
        )
        pixels = (
            128
            + 60 * wave[..., None] * draw.random(3)
            + draw.normal(0, 20, (self.size, self.size, 3))
        )
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), label
