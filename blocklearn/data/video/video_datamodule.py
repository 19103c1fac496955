"""What every data module of videos shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blocklearn.backbones.input_spec import InputSpec
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.images.image_datamodule import SMALLEST_IMAGE
from blocklearn.data.images.image_spec import IMAGENET_MEAN, IMAGENET_STD
from blocklearn.data.video.clip_views import ClipViews, VideoSpec
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError

VideoRecipeFactory = Callable[[VideoSpec], ViewRecipe]
LOOKED_AT = 4  # frames of a clip, two by two


class VideoDataModule(KeyedDataModule):
    """Subclass it, set the class attributes, and write the data sets; each yields (video, label), a
    video being a `Video`, a `FrameFolder` or an `ArrayVideo`.

    Attributes:
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].

    Args:
        recipe: builds the views from the `VideoSpec`.
        root: folder of the data.
        frames: of a clip.
        image_size: height and width of a clip in pixels, at least 8.
        kwargs: the arguments of `KeyedDataModule`.

    Raises:
        UserError: for values out of range, and a recipe for images or sound.
    """

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __init__(
        self,
        recipe: VideoRecipeFactory = ClipViews,
        root: str | Path = "data",
        frames: int = 16,
        image_size: int = 128,
        **kwargs: Any,
    ) -> None:
        if image_size < SMALLEST_IMAGE or frames < 1:
            raise UserError(
                f"data: image_size must be at least {SMALLEST_IMAGE} and frames at least 1, got "
                f"{image_size} and {frames}"
            )
        spec = VideoSpec(image_size, frames, self.mean, self.std)
        super().__init__(_made(recipe, spec, type(self).__name__), root, **kwargs)
        self.frames, self.image_size = frames, image_size

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec("video", self.channels, self.image_size, self.frames)

    def as_seen(self, views: Tensor) -> np.ndarray:
        """Clips `(B, C, T, H, W)` as images to look at, `(B, 2 H + gap, 2 W + gap, 3)` in [0, 1]:
        four of their frames, from the first to the last, in the order of reading."""
        mean, std = (torch.tensor(values).reshape(-1, 1, 1, 1) for values in (self.mean, self.std))
        clips = (views.float().cpu() * std + mean).clamp(0, 1)
        b, c, t, h, w = clips.shape
        gap = max(1, h // 32)
        seen = torch.ones(b, c, 2 * h + gap, 2 * w + gap)
        for place in range(LOOKED_AT):
            top, left = place // 2 * (h + gap), place % 2 * (w + gap)
            frame = clips[:, :, (t - 1) * place // (LOOKED_AT - 1)]
            seen[:, :, top : top + h, left : left + w] = frame
        return seen.permute(0, 2, 3, 1).numpy()


def _made(recipe: VideoRecipeFactory, spec: VideoSpec, name: str) -> ViewRecipe:
    try:
        return recipe(spec)
    except AttributeError as error:
        if error.obj is not spec:
            raise
        raise UserError(
            f"data: {name} is video, and the recipe is one for images: it asks for the views' "
            f"{error.name}; add --data.recipe ClipViews"
        ) from error
