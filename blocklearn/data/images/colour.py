"""Colour operations on a batch in which every image has a strength of its own, on any device.

Equal to `torchvision.transforms.v2.functional` on float images, which takes one strength a call.
Images are `(B, 3, H, W)` floats in [0, 1], strengths `(B,)`; results have the images' shape and
range. Nothing here makes the host wait for the device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as T

# in pixels: four times the largest sigma of the recipes, so that what is cut off weighs under 1e-4
BLUR_RADIUS = 8


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """`factor` times the image; `factor` at least 0."""
    return (images * _each(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """The image blended with its mean grey value; `factor` at least 0, 1 leaves it as it is."""
    return _blend(images, greyscale(images).mean((1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """The image blended with its grey version; `factor` at least 0, 1 leaves it as it is."""
    return _blend(images, greyscale(images), factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Hue in HSV moved on by `turn`, in [-0.5, 0.5] of the whole circle.

    Back from HSV to RGB, channel c is `V - VS * clamp(min(k, 4 - k), 0, 1)` with `k = (n_c + 6 H)
    mod 6` and n = 5, 3, 1.
    """
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    scale = torch.where(chroma == 0, 1, chroma).reciprocal_()
    sixths = torch.where(
        value == red,
        (green - blue) * scale,
        torch.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    sixths += 6 * turn.view(-1, 1, 1)
    out = torch.empty_like(images)
    for channel, start in enumerate((5, 3, 1)):
        k = (sixths + start).remainder_(6)
        torch.sub(value, torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma), out=out[:, channel])
    return out.clamp_(0, 1)


def greyscale(images: Tensor) -> Tensor:
    """`(B, 1, H, W)`, the luma of ITU-R 601-2."""
    return T.rgb_to_grayscale(images)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian of `sigma` pixels, above 0 and at most 2, over `2 * BLUR_RADIUS + 1` pixels; the
    image goes on beyond its edges as in a mirror."""
    radius = min(BLUR_RADIUS, min(images.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    weights /= weights.sum(1, keepdim=True)
    kernels = weights.repeat_interleave(images.shape[1], 0)[
        :, None
    ]  # a group a channel of an image
    padded = F.pad(images, [radius] * 4, mode="reflect").flatten(0, 1)[None]
    down = F.conv2d(padded, kernels[..., None], groups=len(kernels))
    return F.conv2d(down, kernels[:, :, None], groups=len(kernels)).view_as(images)


def solarise(images: Tensor) -> Tensor:
    """Pixels from 128 / 255 up are inverted."""
    return T.solarize(images, 128 / 255)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other, images, _each(factor)).clamp_(0, 1)


def _each(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)
