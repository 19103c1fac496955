"""Digital: contrast, elastic, pixelate, JPEG, and saturation; and brightness, which is computed as
saturation is. The parameters are published (arXiv 1903.12261 and its files of CIFAR-10-C)."""

from io import BytesIO

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, map_coordinates

from blocklearn.data.images.corruptions.shared import (
    Floats,
    Pixels,
    at_severity,
    part_of_published,
    smoothing,
    to_pixels,
    to_unit,
)


def brightness(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """More light: so much is added to the value of HSV; hue and saturation stay."""
    added, _ = at_severity(pixels, severity, (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3))
    image = to_unit(pixels)
    value = image.max(axis=2, keepdims=True)
    lit = np.minimum(value + added, 1)
    coloured = image * (lit / np.maximum(value, 1e-6))
    return to_pixels(np.where(value > 0, coloured, lit))  # black has no colour


def contrast(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Every channel nearer to its mean."""
    kept, _ = at_severity(pixels, severity, (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15))
    image = to_unit(pixels)
    mean = image.mean(axis=(0, 1), keepdims=True)
    return to_pixels((image - mean) * kept + mean)


def elastic_transform(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Stretched by a random affine map, then every pixel is moved by a smooth random field. The
    first two severities of ImageNet-C stretch far, the other three ripple: its severities are not
    in the order of the distance from the clean image."""
    (strength, sigma, stretch), _ = at_severity(
        pixels,
        severity,
        ((488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88))
        + ((29.28, 2.44, 4.88),),
        ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
    )
    image, (height, width) = to_unit(pixels), pixels.shape[:2]
    scale = part_of_published(pixels)  # all three lengths are published as parts of the side
    image = _stretched(image, stretch * scale, generator)
    if strength == 0:
        return to_pixels(image)
    rows, columns = (smoothing(side, sigma * scale) for side in (height, width))
    down, right = (
        strength * scale * (rows @ generator.uniform(-1, 1, (height, width)) @ columns.T)
        for _ in range(2)
    )
    places = np.stack([np.arange(height)[:, None] + down, np.arange(width) + right])
    moved = [map_coordinates(image[..., n], places, order=1, mode="reflect") for n in range(3)]
    return to_pixels(np.stack(moved, axis=2))


def _stretched(image: Floats, stretch: float, generator: np.random.Generator) -> Floats:
    """Three corners of a square in the middle move by up to `stretch` pixels each way, and the
    image with them."""
    height, width = image.shape[:2]
    side = min(height, width) // 3
    corners = np.array([[1, 1], [1, -1], [-1, -1]]) * side + np.array([height, width]) // 2
    moved = corners + generator.uniform(-stretch, stretch, corners.shape)
    # of every place in the result the place in the image: rows of (y, x, 1)
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners).T
    return np.stack(
        [
            affine_transform(image[..., n], back[:, :2], back[:, 2], order=1, mode="mirror")
            for n in range(3)
        ],
        axis=2,
    )


def pixelate(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Made smaller by a mean over boxes, and large again without smoothing."""
    part, _ = at_severity(
        pixels, severity, (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)
    )
    image = Image.fromarray(pixels)
    few = (int(image.width * part), int(image.height * part))
    box = Image.Resampling.BOX
    return np.array(image.resize(few, box).resize(image.size, box))


def jpeg_compression(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Written as JPEG of low quality, and read again."""
    quality, _ = at_severity(pixels, severity, (25, 18, 15, 10, 7), (80, 65, 58, 50, 40))
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def saturate(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Paler or more colourful: the saturation of HSV times a factor and more; grey counts as red
    without saturation, as published. One of the four extra corruptions."""
    (factor, added), _ = at_severity(
        pixels,
        severity,
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    )
    image = to_unit(pixels)
    value = image.max(axis=2, keepdims=True)
    depth = value - image.min(axis=2, keepdims=True)
    saturation = depth / np.maximum(value, 1e-6)
    wanted = np.clip(saturation * factor + added, 0, 1)
    # the part of `value` that each channel lacks: 1 in the least of them at full saturation
    lacks = np.where(depth > 0, (value - image) / np.maximum(depth, 1e-6), [0.0, 1.0, 1.0])
    return to_pixels(value * (1 - wanted * lacks))
