"""What every image data module shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from blocklearn.data.datamodule import KeyedDataModule
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
        kwargs: the arguments of `KeyedDataModule`.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    grey: tuple[float, float] | None = None

    def __init__(self, recipe: RecipeFactory, root: str | Path = "data", image_size: int = 224, **kwargs: Any) -> None:
        if image_size < 1:
            raise UserError(f"data: image_size must be at least 1, got {image_size}")
        super().__init__(recipe(ImageSpec(image_size, self.mean, self.std, self.grey)), root, **kwargs)
        self.image_size = image_size
