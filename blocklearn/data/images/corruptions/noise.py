"""Noise: gaussian, shot, impulse, and speckle. All parameters are published (arXiv 1903.12261 and
its files of CIFAR-10-C); none is a length."""

import numpy as np

from blocklearn.data.images.corruptions.shared import Pixels, at_severity, to_pixels, to_unit


def gaussian_noise(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """As in poor light: a normal number on every channel of every pixel."""
    std, _ = at_severity(
        pixels, severity, (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)
    )
    return to_pixels(to_unit(pixels) + std * generator.standard_normal(pixels.shape, np.float32))


def shot_noise(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Light counted in few photons: Poisson, so many at full white."""
    photons, _ = at_severity(pixels, severity, (60, 25, 12, 5, 3), (500, 250, 100, 75, 50))
    return to_pixels(generator.poisson(to_unit(pixels) * photons) / photons)


def impulse_noise(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Salt and pepper: a part of all values is black or white, by equal chances."""
    part, _ = at_severity(
        pixels, severity, (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)
    )
    struck = generator.random(pixels.shape) < part
    grains = np.where(generator.random(pixels.shape) < 0.5, 255, 0).astype(np.uint8)
    return np.where(struck, grains, pixels)


def speckle_noise(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """A normal number times the value itself; one of the four extra corruptions."""
    std, _ = at_severity(
        pixels, severity, (0.15, 0.2, 0.35, 0.45, 0.6), (0.06, 0.1, 0.12, 0.16, 0.2)
    )
    noise = std * generator.standard_normal(pixels.shape, np.float32)
    return to_pixels(to_unit(pixels) * (1 + noise))
