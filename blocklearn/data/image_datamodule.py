"""What every image data module shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.resident import ResidentLoader, load_resident
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.data.views import IMAGENET_MEAN, IMAGENET_STD, ImageSpec
from blocklearn.errors import UserError

RecipeFactory = Callable[[ImageSpec], ViewRecipe]


class ImageDataModule(KeyedDataModule):
    """Subclass it, set the class attributes, and write the data sets; each yields (RGB PIL image, label).

    Attributes:
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        grey: mean and standard deviation of the grey pixels in [0, 1]; null to derive them from those of the colours.

    Args:
        recipe: builds the views from the `ImageSpec`.
        root: folder of the data.
        image_size: height and width of a view in pixels.
        resident: keep the images, all of one size, on the device, and make the training views there; for small data sets.
            The recipe must know how (`SmallImageViews`, `BarlowTwinsViews`, `GlyphViews`). Same distribution, other draws.
            Probes read their images through the loader all the same.
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
        if image_size < 1:
            raise UserError(f"data: image_size must be at least 1, got {image_size}")
        super().__init__(recipe(ImageSpec(image_size, self.mean, self.std, self.grey)), root, **kwargs)
        self.image_size = image_size
        self.resident = resident

    def every_training_view(self) -> Any:
        if not self.resident:
            return super().every_training_view()
        return self._resident_loader(self.pretraining_samples(), shuffle=False, fixed_views=True)

    def _training_loader(self, samples: LabelledSamples, shuffle: bool, fixed_views: bool = False) -> Any:
        if not self.resident:
            return super()._training_loader(samples, shuffle, fixed_views)
        return self._resident_loader(samples, shuffle, fixed_views)

    def _resident_loader(self, samples: LabelledSamples, shuffle: bool, fixed_views: bool) -> ResidentLoader:
        images = load_resident(samples, self._device())
        return ResidentLoader(images, self.recipe, self._sampler(images.labels, self.batch_size, shuffle, fixed_views))
