"""Crops of a batch on its device, each image with a box of its own, resampled as PIL does it."""

import torch
from torch import Tensor

CUBIC = -0.5  # PIL's coefficient, and torch's with antialiasing
RATIO = (3 / 4, 4 / 3)  # of a crop's width to its height, as in torchvision's RandomResizedCrop
ATTEMPTS = 10


def draw_crops(
    count: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    flip: float,
    generator: torch.Generator,
) -> Tensor:
    """Random resized crops, distributed as torchvision's: the first of ten boxes that fits into the
    image, else the largest one in the centre.

    Args:
        count: number of crops.
        height: of the images, in pixels.
        width: of the images, in pixels.
        scale: smallest and largest part of the image's area.
        flip: probability of a horizontal flip.
        generator: on the CPU.

    Returns:
        `(count, 5)`: top, left, height, width in pixels, and whether the crop is flipped.
    """
    area, ratio = torch.rand(2, count, ATTEMPTS, generator=generator, dtype=torch.float64)
    down, right, flipped = torch.rand(3, count, generator=generator, dtype=torch.float64)
    area = (scale[0] + (scale[1] - scale[0]) * area) * (height * width)
    ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** ratio
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.int().argmax(1, keepdim=True)
    central_height = min(height, round(width / RATIO[0]))
    central_width = min(width, round(height * RATIO[1]))
    none = ~fits.any(1)
    h = heights.gather(1, first).squeeze(1).where(~none, central_height)
    w = widths.gather(1, first).squeeze(1).where(~none, central_width)
    top = ((height - h + 1) * down).floor().where(~none, (height - central_height) // 2)
    left = ((width - w + 1) * right).floor().where(~none, (width - central_width) // 2)
    return torch.stack([top, left, h, w, (flipped < flip).double()], 1).float()


def crop_and_resize(images: Tensor, crops: Tensor, size: int) -> Tensor:
    """Cut out and resize, bicubic and antialiased, in two matrix products an image.

    Args:
        images: `(B, C, H, W)`, uint8.
        crops: `(B, 5)` of `draw_crops`, on the images' device.
        size: height and width of the result.

    Returns:
        `(B, C, size, size)` floats in [0, 1]; what overshoots is clipped.
    """
    top, left, height, width, flipped = crops.unbind(1)
    rows = _weights(top, height, images.shape[2], size)
    columns = _weights(left, width, images.shape[3], size)
    columns = torch.where(flipped[:, None, None] > 0, columns.flip(1), columns)
    lines = images.float().flatten(1, 2) @ columns.mT  # an image's channels lie one under the other
    return (rows[:, None] @ lines.unflatten(1, images.shape[1:3])).div_(255).clamp_(0, 1)


def _weights(start: Tensor, extent: Tensor, pixels: int, size: int) -> Tensor:
    """`(B, size, pixels)`: how much of each pixel of a line goes into each pixel of the crop. Sums
    over the crop are 1."""
    start, extent = start[:, None, None], extent[:, None, None]
    step = extent / size
    centre = start + (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(pixels, device=start.device) + 0.5
    distance = ((pixel - centre) / step.clamp(min=1)).abs()
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0))
    weights = torch.where((pixel > start) & (pixel < start + extent), weights, 0)
    return weights / weights.sum(2, keepdim=True)
