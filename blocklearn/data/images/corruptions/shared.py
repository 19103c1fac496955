"""What the corruptions share: parameters by severity and size, and a few filters."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Corruption = Callable[[Pixels, int, np.random.Generator], Pixels]

LARGE, SMALL = 224, 32  # pixels: the sides for which parameters are published
LARGEST_SMALL = 64  # up to here the parameters are those of CIFAR-10-C
SEVERITIES = (1, 2, 3, 4, 5)


def at_severity(
    pixels: Pixels, severity: int, large: Sequence[Any], small: Sequence[Any]
) -> tuple[Any, float]:
    """The parameters for an image, and the factor for its lengths in pixels.

    Images whose shorter side has more than 64 pixels take the parameters of ImageNet-C, published
    for 224 pixels; smaller ones take those of CIFAR-10-C, published for 32. For other sizes (ours)
    lengths of blurs are multiplied by the shorter side over 224 or over 32; below 32 pixels they
    stay those of 32, since nothing is shorter than a pixel.

    Args:
        pixels: `(H, W, 3)`.
        severity: 1 to 5.
        large: published for 224 pixels, one entry a severity.
        small: published for 32 pixels.

    Raises:
        ValueError: for a severity out of range.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"a severity is 1, 2, 3, 4 or 5, got {severity}")
    if published_side(pixels) == LARGE:
        return large[severity - 1], part_of_published(pixels)
    return small[severity - 1], max(1.0, part_of_published(pixels))


def published_side(pixels: Pixels) -> int:
    """The size in pixels for which the parameters of this image are published."""
    return LARGE if min(pixels.shape[:2]) > LARGEST_SMALL else SMALL


def part_of_published(pixels: Pixels) -> float:
    """The shorter side over the published one."""
    return min(pixels.shape[:2]) / published_side(pixels)


def layer_shape(pixels: Pixels) -> tuple[int, int]:
    """Of what is laid over an image: it is made at the published size and then `fitted`."""
    part = part_of_published(pixels)
    return round(pixels.shape[0] / part), round(pixels.shape[1] / part)


def fitted(layer: Floats, pixels: Pixels) -> Floats:
    """A layer `(h, w)` at the size of the image, antialiased."""
    height, width = pixels.shape[:2]
    if layer.shape == (height, width):
        return layer
    image = Image.fromarray(layer.astype(np.float32))
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR))


def to_unit(pixels: Pixels) -> Floats:
    """In [0, 1]."""
    return pixels.astype(np.float32) / 255


def to_pixels(values: Floats) -> Pixels:
    """From [0, 1], what lies outside clipped; decimals are cut off, as in the published files."""
    return np.floor(np.clip(values, 0, 1) * 255 + 1e-3).astype(np.uint8)


def blurred(values: Floats, sigma: float, reach: int | None = None) -> Floats:
    """Gaussian blur of an image or of each of its channels; the border's pixels go on outside."""
    sigmas = (sigma, sigma, 0)[: values.ndim]
    if reach is None:
        return gaussian_filter(values, sigmas, mode="nearest")
    return gaussian_filter(values, sigmas, mode="nearest", radius=(reach, reach, 0)[: values.ndim])


def zoomed(values: Floats, factor: float) -> Floats:
    """Enlarged about its centre, bilinear, same size; `(H, W)` or `(H, W, C)`."""
    rows, columns = (_enlarging(side, factor) for side in values.shape[:2])
    turned = np.moveaxis(values.reshape(*values.shape[:2], -1), 2, 0)
    enlarged = np.moveaxis(rows @ turned @ columns.T, 0, 2)
    return enlarged.reshape(values.shape)


@cache
def _enlarging(side: int, factor: float) -> Floats:
    """`(side, side)` weights of bilinear interpolation along one axis."""
    centre = (side - 1) / 2
    places = np.clip(centre + (np.arange(side) - centre) / factor, 0, side - 1)
    left = np.minimum(places.astype(int), side - 2)
    weights = np.zeros((side, side), np.float32)
    weights[np.arange(side), left] = 1 - (places - left)
    weights[np.arange(side), left + 1] += places - left
    return weights


@cache
def smoothing(side: int, sigma: float) -> Floats:
    """`(side, side)`: a Gaussian along one axis, cut at three sigmas, mirrored at the border."""
    return gaussian_filter1d(np.eye(side), sigma, axis=0, mode="reflect", truncate=3)


def motion_blurred(values: Floats, radius: float, sigma: float, angle: float) -> Floats:
    """Smeared to one side, with half a Gaussian for weights, in steps of whole pixels; the border's
    pixels go on outside.

    Args:
        values: `(H, W)` or `(H, W, C)`.
        radius: the smear has `2 * radius + 1` pixels.
        sigma: of the Gaussian, in pixels.
        angle: of its direction, in radians; 0 is along the rows.
    """
    steps = np.arange(2 * max(1, round(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    down = np.rint(steps * np.sin(angle)).astype(int)
    right = np.rint(steps * np.cos(angle)).astype(int)
    reach = len(steps)
    around = [(reach, reach), (reach, reach), (0, 0)][: values.ndim]
    padded = np.pad(values, around, mode="edge")
    height, width = values.shape[:2]
    smeared = np.zeros_like(values)
    for weight, y, x in zip(weights, down + reach, right + reach, strict=True):
        smeared += weight.astype(values.dtype) * padded[y : y + height, x : x + width]
    return smeared


def plasma(side: int, decay: float, generator: np.random.Generator) -> Floats:
    """A cloudy field `(side, side)` in [0, 1]: diamonds and squares on a torus (Fournier, Fussell
    and Carpenter 1982), cut out of the next power of two.

    Args:
        side: in pixels.
        decay: each finer level moves by this factor squared less, as published for fog.
        generator: of the moves.
    """
    size = 1 << (side - 1).bit_length()
    heights = np.zeros((size, size))
    step, reach = size, 1.0

    def between(four: Floats) -> Floats:
        return four / 4 + reach * generator.uniform(-1, 1, four.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        centres = between(pairs + np.roll(pairs, -1, axis=1))
        heights[half::step, half::step] = centres
        heights[::step, half::step] = between(
            corners + np.roll(corners, -1, axis=1) + centres + np.roll(centres, 1, axis=0)
        )
        heights[half::step, ::step] = between(pairs + centres + np.roll(centres, 1, axis=1))
        step, reach = half, reach / decay**2
    heights -= heights.min()
    return (heights / heights.max())[:side, :side]
