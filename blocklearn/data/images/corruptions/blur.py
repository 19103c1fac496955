"""Blur: defocus, glass, motion, zoom, and Gaussian. The parameters are published (arXiv 1903.12261
and its files of CIFAR-10-C); lengths follow the image's size (see `shared.at_severity`)."""

import numpy as np
from scipy.signal import fftconvolve

from blocklearn.data.images.corruptions.shared import (
    Floats,
    Pixels,
    at_severity,
    blurred,
    motion_blurred,
    to_pixels,
    to_unit,
    zoomed,
)


def defocus_blur(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Out of focus: the mean over a disk whose edge is softened."""
    (radius, soft), scale = at_severity(
        pixels,
        severity,
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    )
    kernel = _disk(radius * scale, soft * scale)
    reach = len(kernel) // 2
    around = np.pad(to_unit(pixels), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return to_pixels(fftconvolve(around, kernel[..., None], mode="valid", axes=(0, 1)))


def _disk(radius: float, soft: float) -> Floats:
    softened = 1 if radius <= 8 else 2  # pixels on either side
    reach = int(np.ceil(radius)) + softened
    places = np.arange(-reach, reach + 1)
    disk = (places**2 + places[:, None] ** 2 <= radius**2).astype(np.float64)
    return blurred(disk / disk.sum(), soft, softened)


def glass_blur(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Through frosted glass: pixels change places with neighbours, between two slight blurs."""
    (sigma, reach, rounds), scale = at_severity(
        pixels,
        severity,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    )
    sigma, reach = sigma * scale, max(1, round(reach * scale))
    height, width = pixels.shape[:2]
    soft = to_pixels(blurred(to_unit(pixels), sigma)).reshape(-1, 3)
    rows = np.arange(height - reach, reach, -1)[:, None]
    columns = np.arange(width - reach, reach, -1)
    here = rows * width + columns
    place = list(range(height * width))
    for _ in range(rounds):
        down, right = generator.integers(-reach, reach, (2, *here.shape))
        there = here + down * width + right
        for one, other in zip(here.ravel().tolist(), there.ravel().tolist(), strict=True):
            place[one], place[other] = place[other], place[one]
    return to_pixels(blurred(to_unit(soft[place].reshape(pixels.shape)), sigma))


def motion_blur(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """The camera moves in a direction between -45 and 45 degrees."""
    (radius, sigma), scale = at_severity(
        pixels,
        severity,
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    )
    angle = np.deg2rad(generator.uniform(-45, 45))
    return to_pixels(motion_blurred(to_unit(pixels), radius * scale, sigma * scale, angle))


def zoom_blur(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """The camera moves towards the middle: the mean of the image and of its enlargements."""
    (end, step), _ = at_severity(
        pixels,
        severity,
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    )
    image = to_unit(pixels)
    factors = np.arange(1, end, step).tolist()
    return to_pixels(
        (image + sum(zoomed(image, factor) for factor in factors)) / (1 + len(factors))
    )


def gaussian_blur(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """One of the four extra corruptions."""
    sigma, scale = at_severity(pixels, severity, (1, 2, 3, 4, 6), (0.4, 0.6, 0.7, 0.8, 1))
    return to_pixels(blurred(to_unit(pixels), sigma * scale))
