"""Between pixels and what a network gets to see."""

import torch
from torch import Tensor

from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.images.image_spec import ImageSpec, ToNormalisedTensor
from blocklearn.errors import UserError


class SeenPixels:
    """Pixels in [0, 1], normalised as the recipe of some data does it, and back.

    Args:
        data: of images or clips, which has `mean` and `std`.
        channels: of a view, 3 or 1.
        who: the evaluation's class.

    Raises:
        UserError: for data that has no mean and standard deviation.
    """

    def __init__(self, data: KeyedDataModule, channels: int, who: str) -> None:
        mean, std = getattr(data, "mean", None), getattr(data, "std", None)
        if mean is None or std is None:
            raise UserError(
                f"evaluation: {who} shows pixels, and {data.title} does not say by which mean and "
                "std they are normalised; choose data of images or clips"
            )
        spec = ImageSpec(0, mean, std, getattr(data, "grey", None))
        self._spec = spec.in_grey() if channels == 1 else spec

    def views(self, frames: Tensor) -> Tensor:
        """Images `(..., C, S, S)` in [0, 1], which are written over, as the network sees them."""
        return ToNormalisedTensor(self._spec).normalise(frames)

    def frames(self, views: Tensor) -> Tensor:
        """Views `(B, C, S, S)`, or clips `(B, C, T, S, S)`, as frames to look at, `(B, T, S, S, 3)`
        in [0, 1] on the CPU; T is 1 for images. What is brighter or darker than an image can be is
        cut."""
        clips = views.detach().float().cpu()
        clips = clips.unsqueeze(2) if clips.ndim == 4 else clips
        mean, std = (
            torch.tensor(values).reshape(-1, 1, 1, 1)
            for values in (self._spec.mean, self._spec.std)
        )
        pixels = (clips * std + mean).clamp(0, 1).expand(-1, 3, -1, -1, -1)
        return pixels.permute(0, 2, 3, 4, 1)
