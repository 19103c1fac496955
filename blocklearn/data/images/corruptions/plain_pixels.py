"""The pixels that a network would see, before they are normalised."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.images.corruptions.shared import Pixels
from blocklearn.data.images.image_datamodule import ImageDataModule
from blocklearn.data.images.image_spec import LUMA, ImageSpec
from blocklearn.errors import UserError


class PlainPixels:
    """The plain view of an image, resized and cropped, as pixels; and pixels as the network takes
    them. The normalisation that the recipe did with the data's mean and standard deviation is taken
    back, which gives the very pixels that went into it. Grey views become three equal channels.

    Args:
        data: of images.

    Raises:
        UserError: for data other than images.
    """

    def __init__(self, data: KeyedDataModule) -> None:
        if not isinstance(data, ImageDataModule):
            raise UserError(
                f"evaluation: Robustness corrupts images, {data.title} has none; choose another "
                "--evaluation"
            )
        spec = ImageSpec(data.image_size, data.mean, data.std, data.grey)
        self.recipe, self.size, self.grey = data.recipe, data.image_size, data.channels == 1
        spec = spec.in_grey() if self.grey else spec
        # by the formula of ToNormalisedTensor, so that clean views stay the same to the last bit
        self._scale = 1 / (255 * torch.tensor(spec.std)).reshape(-1, 1, 1)
        self._shift = -(torch.tensor(spec.mean) / torch.tensor(spec.std)).reshape(-1, 1, 1)

    def __call__(self, sample: Any) -> Pixels:
        """`(H, W, 3)`.

        Raises:
            UserError: where the recipe's plain view is no normalised image.
        """
        values = (self.recipe.plain_view(sample) - self._shift) / self._scale
        pixels = values.round()
        if pixels.min() < 0 or pixels.max() > 255 or (values - pixels).abs().max() > 0.05:
            raise UserError(
                f"evaluation: Robustness cannot take back the normalisation of "
                f"{type(self.recipe).__name__}; its plain_view must end in ToNormalisedTensor of "
                "the ImageSpec that it is given"
            )
        return pixels.to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()

    def views(self, pixels: Tensor) -> Tensor:
        """`(B, H, W, 3)`, uint8, to views `(B, C, H, W)`, normalised, on the same device."""
        if self.grey:
            luma = torch.tensor(LUMA, device=pixels.device)
            channels = (pixels.float() @ luma).round()[:, None]
        else:
            channels = pixels.permute(0, 3, 1, 2).float()
        shift, scale = self._shift.to(pixels.device), self._scale.to(pixels.device)
        return torch.addcmul(shift, channels, scale)


def centre_crop(image: Any, size: int) -> Pixels:
    """The `(size, size, 3)` pixels in the middle of an RGB PIL image, without resizing.

    Raises:
        UserError: for a smaller image.
    """
    if min(image.size) < size:
        raise UserError(
            f"evaluation.folder: an image of {image.width} x {image.height} pixels is smaller than "
            f"the views of {size}; ready-made files are cropped, never enlarged"
        )
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.array(image.crop((left, top, left + size, top + size)))
