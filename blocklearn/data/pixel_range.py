"""Pixels of 16 and 32 bits and floats, which PIL clips at 255, in 8 bits."""

from typing import Any

import numpy as np
from PIL import Image

BITS, PHOTOMETRIC, MAX_SAMPLE = 258, 262, 281  # TIFF's tags
WHITE_IS_ZERO = 0


def in_8_bits(image: Image.Image) -> Image.Image:
    """An image as it is, but for one of 16-bit, 32-bit or float pixels, which becomes grey of 8 bits.

    Of 16-bit pixels 65535 is white, or in a TIFF what its tags say: of 12 bits a sample 4095. 32-bit integers and floats do
    not say what white is: 1 for floats that all lie in [0, 1]; otherwise 255, if all lie in [0, 255]; 65535, if all lie in
    [0, 65535]; otherwise the image's largest value, and its smallest is black. Values in between are rounded to the nearest
    of 256. What a PNG has as its transparent value stays transparent.

    Raises:
        ValueError: for floats that are not finite.
    """
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    tags: Any = getattr(image, "tag_v2", {})
    black, white = _range(image, tags, float(values.min()), float(values.max()))
    scaled = np.clip((values - black) / (white - black), 0, 1) if white > black else np.zeros_like(values)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 1 - scaled
    grey = Image.fromarray(np.rint(scaled * 255).astype(np.uint8))
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _range(image: Image.Image, tags: Any, low: float, high: float) -> tuple[float, float]:
    """Values of black and white."""
    if image.mode.startswith("I;16"):
        bits = int(np.ravel(tags.get(BITS, 16))[0])
        told = tags.get(MAX_SAMPLE)
        return 0.0, float(np.ravel(told)[0]) if told and np.ravel(told)[0] >= high > 0 else 2.0**bits - 1
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits there
        return 0.0, 65535.0
    for white in ([1.0] if image.mode == "F" else []) + [255.0, 65535.0]:
        if low >= 0 and high <= white:
            return 0.0, white
    return low, high
