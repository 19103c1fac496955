"""Weather: snow, frost, fog, and spatter. How strong each is at every severity is published (arXiv
1903.12261 and its files of CIFAR-10-C); the frost itself is ours, made of noise, where the
published files take photographs; so is the shading of spatter's water drops. Flakes and drops are
made at the published size, 224 or 32 pixels, and then resized to the image's (ours)."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, correlate, distance_transform_edt, uniform_filter

from blocklearn.data.images.corruptions.shared import (
    Floats,
    Pixels,
    at_severity,
    blurred,
    fitted,
    layer_shape,
    motion_blurred,
    plasma,
    to_pixels,
    to_unit,
    zoomed,
)

GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2
WATER = np.array([175, 238, 238]) / 255
MUD = np.array([63, 42, 20]) / 255
ICE = np.array([0.90, 0.95, 1.0])


def snow(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Flakes: noise above a threshold, enlarged and smeared, falling twice, and a whiter image."""
    (mean, std, zoom, threshold, radius, sigma, kept), _ = at_severity(
        pixels,
        severity,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    )
    image = to_unit(pixels)
    flakes = zoomed(generator.normal(mean, std, layer_shape(pixels)), zoom)
    flakes = np.where(flakes < threshold, 0, np.clip(flakes, 0, 1))
    angle = np.deg2rad(generator.uniform(-135, -45))
    flakes = fitted(motion_blurred(flakes, radius, sigma, angle), pixels)[..., None]
    whiter = np.maximum(image, (image @ GREY)[..., None] * 1.5 + 0.5)
    return to_pixels(kept * image + (1 - kept) * whiter + flakes + flakes[::-1, ::-1])


def frost(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """A darker image under ice. How much of each is published, the ice is ours: `ice_crystals`."""
    (kept, ice), _ = at_severity(
        pixels,
        severity,
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    )
    crystals = ice_crystals(pixels.shape[0], pixels.shape[1], generator)
    return to_pixels(kept * to_unit(pixels) + ice * crystals)


def ice_crystals(height: int, width: int, generator: np.random.Generator) -> Floats:
    """A texture `(height, width, 3)` in [0, 1] like ice on a window (ours): clouds with sharp
    ridges, and needles in a few directions that are denser where the clouds are."""
    side = max(height, width)
    clouds = plasma(side, 1.5, generator)
    ridges = 1 - np.abs(2 * plasma(side, 1.3, generator) - 1)
    needles = np.zeros((side, side))
    for angle in generator.uniform(0, 2 * np.pi, 4):
        seeds = (generator.random((side, side)) < 0.02) * (0.4 + clouds)
        needles += motion_blurred(seeds, side / 16, side / 20, angle)
    needles /= needles.max() + 1e-6
    texture = np.clip(0.15 + 0.35 * clouds + 0.35 * ridges**4 + 0.5 * needles, 0, 1)
    return texture[:height, :width, None] * ICE


def fog(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """A cloudy field is added, and the sum made as bright as the image was."""
    (thickness, decay), _ = at_severity(
        pixels,
        severity,
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    )
    image, (height, width) = to_unit(pixels), pixels.shape[:2]
    brightest = image.max()
    clouds = plasma(max(height, width), decay, generator)[:height, :width, None]
    return to_pixels((image + thickness * clouds) * brightest / (brightest + thickness))


def spatter(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Drops on the lens: of water up to severity 3, then of mud. One of the four extra
    corruptions. Size, number and strength of the drops are published; the edges of water drops are
    found here as the border of the drops, there by an edge detector."""
    (mean, std, sigma, threshold, strength, mud), _ = at_severity(
        pixels,
        severity,
        (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
    )
    image = to_unit(pixels)
    liquid = blurred(generator.normal(mean, std, layer_shape(pixels)), sigma)
    drops = liquid > threshold
    if mud:
        cover = blurred(drops.astype(np.float64), strength)
        cover = fitted(np.where(cover < 0.8, 0, cover), pixels)[..., None]
        return to_pixels(image * (1 - cover) + MUD * cover)
    shine = np.where(drops, np.minimum(liquid, 1), 0) * _shading(drops)
    shine *= strength / max(shine.max(), 1e-6)
    return to_pixels(image + fitted(shine, pixels)[..., None] * WATER)


def _shading(drops: NDArray[np.bool_]) -> Floats:
    """Light from one side: how far each pixel is from a drop's edge, evened out over its values,
    and embossed."""
    edges = drops & np.logical_not(binary_erosion(drops))
    if not edges.any():
        return np.zeros(drops.shape)
    far = uniform_filter(np.minimum(distance_transform_edt(np.logical_not(edges)), 20), 3)  # pyright: ignore
    order = np.searchsorted(np.sort(far.ravel()), far, side="right") / far.size
    embossed = correlate(255 * order, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror")
    return uniform_filter(np.clip(embossed, 0, 255), 3)
