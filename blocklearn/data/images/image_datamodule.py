"""What every image data module shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blocklearn.backbones.input_spec import InputSpec
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.images.image_spec import IMAGENET_MEAN, IMAGENET_STD, ImageSpec
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.resident import ResidentImages, ResidentLoader, load_resident
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError

RecipeFactory = Callable[[ImageSpec], ViewRecipe]
SMALLEST_IMAGE = (
    8  # pixels; of fewer the blur and the strides of the recipes and networks leave nothing
)


class ImageDataModule(KeyedDataModule):
    """Subclass it, set the class attributes, and write the data sets; each yields (RGB PIL image,
    label).

    Attributes:
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        grey: mean and standard deviation of the grey pixels in [0, 1]; null to derive them from
            those of the colours.

    Args:
        recipe: builds the views from the `ImageSpec`.
        root: folder of the data.
        image_size: height and width of a view in pixels, at least 8.
        resident: keep the images, all of one size, on the device, and make the training views
            there; for small data sets. The recipe must know how (`SmallImageViews`,
            `BarlowTwinsViews`, `GlyphViews`); it does all its work there, whatever its `colour`.
            Same distribution, other draws. Every process holds the whole set, and no loader process
            is used; probes read their images through the loader all the same.
        kwargs: the arguments of `KeyedDataModule`.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    grey: tuple[float, float] | None = None

    def __init__(
        self,
        recipe: RecipeFactory,
        root: str | Path = "data",
        image_size: int = 224,
        resident: bool = False,
        **kwargs: Any,
    ) -> None:
        if image_size < SMALLEST_IMAGE:
            raise UserError(f"data: image_size must be at least {SMALLEST_IMAGE}, got {image_size}")
        super().__init__(
            recipe(ImageSpec(image_size, self.mean, self.std, self.grey)), root, **kwargs
        )
        self.image_size = image_size
        self.resident = resident
        self._training_images: ResidentImages | None = None
        if resident:  # a recipe that cannot says so before a single image is read
            self.recipe.draw_views(1, 0, image_size, image_size, torch.Generator())

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec("images", self.channels, self.image_size)

    def as_seen(self, views: Tensor) -> np.ndarray:
        """Views `(B, C, H, W)` as images to look at, `(B, H, W, 3)` in [0, 1]; where a view is
        brighter or darker than an image can be it is cut."""
        spec = ImageSpec(self.image_size, self.mean, self.std, self.grey)
        spec = spec.in_grey() if views.shape[1] == 1 else spec
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (spec.mean, spec.std))
        pixels = (views.float().cpu() * std + mean).clamp(0, 1).expand(-1, 3, -1, -1)
        return pixels.permute(0, 2, 3, 1).numpy()

    def every_training_view(self) -> Any:
        if not self.resident:
            return super().every_training_view()
        return self._resident_loader(
            self._resident_training_images(), shuffle=False, fixed_views=True
        )

    def _training_loader(
        self, samples: LabelledSamples, shuffle: bool, fixed_views: bool = False
    ) -> Any:
        if not self.resident:
            return super()._training_loader(samples, shuffle, fixed_views)
        training = shuffle  # other samples are passed in order
        images = self._resident_training_images() if training else self._read_resident(samples)
        return self._resident_loader(images, shuffle, fixed_views)

    def _resident_training_images(self) -> ResidentImages:
        """Read once, though each frozen block asks for them again."""
        if self._training_images is None or self._training_images.pixels.device != self._device():
            self._training_images = self._read_resident(self.pretraining_samples())
        return self._training_images

    def _read_resident(self, samples: LabelledSamples) -> ResidentImages:
        return load_resident(samples, self._device(), self.keying_seed(), self._unreadable(samples))

    def _resident_loader(
        self, images: ResidentImages, shuffle: bool, fixed_views: bool
    ) -> ResidentLoader:
        return ResidentLoader(
            images, self.recipe, self._sampler(images.labels, self.batch_size, shuffle, fixed_views)
        )
