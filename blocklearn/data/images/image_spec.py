"""What a view of an image is fed as: size, mean and standard deviation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blocklearn.data.images.colour_work import to_device

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue in PIL's mode "L"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What a data set asks of a recipe.

    Attributes:
        size: height and width of a view in pixels.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        grey: mean and standard deviation of the grey pixels in [0, 1]; null to derive them from
            those of the colours.
    """

    size: int
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    grey: tuple[float, float] | None = None

    def in_grey(self) -> "ImageSpec":
        """The same with the statistics of one grey channel. Where `grey` is not given they follow
        from the colours' by the weights of PIL's mode "L" (ITU-R 601-2): the mean is exact, the
        standard deviation an upper bound, reached where the colours rise and fall together."""
        mean, std = self.grey or (
            sum(weight * value for weight, value in zip(LUMA, values, strict=True))
            for values in (self.mean, self.std)
        )
        return ImageSpec(self.size, (mean,), (std,), (mean, std))


class ToNormalisedTensor(torch.nn.Module):
    """RGB or grey PIL image to a float `(3, H, W)` or `(1, H, W)` tensor with the mean and standard
    deviation of `spec` taken out. Equal to torchvision's ToImage, ToDtype and Normalize, in a fifth
    of their time on small images."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self._scale = 1 / (255 * torch.tensor(spec.std)).reshape(-1, 1, 1)
        self._shift = -(torch.tensor(spec.mean) / torch.tensor(spec.std)).reshape(-1, 1, 1)

    def forward(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1)
        return torch.addcmul(self._shift, pixels.float(), self._scale)

    def normalise(self, images: Tensor) -> Tensor:
        """The same for floats `(..., C, H, W)` in [0, 1], on their device; they are written
        over."""
        scale, shift = (
            to_device(tensor, images.device) for tensor in (255 * self._scale, self._shift)
        )
        return images.mul_(scale).add_(shift)
