"""Pixels of 16 and 32 bits and floats, which PIL clips at 255, in 8 bits."""

from typing import Any

import numpy as np
from PIL import Image

BITS, PHOTOMETRIC, MAX_SAMPLE, SAMPLE_FORMAT = 258, 262, 281, 339  # TIFF's tags
WHITE_IS_ZERO = 0
UNSIGNED, SIGNED = 1, 2  # sample formats
DARKEST = 4  # shades of 256: a picture that stays below is black to the eye
MANY = 16  # values, more than a drawing or a map of labels needs


def in_8_bits(image: Image.Image) -> Image.Image:
    """An image as it is, but for one of 16-bit, 32-bit, signed or float pixels, which becomes grey
    of 8 bits.

    Of 16-bit pixels 65535 is white, or in a TIFF what its tags say: of 12 bits a sample 4095.
    32-bit integers and floats do not say what white is: 1 for floats that all lie in [0, 1];
    otherwise 255, if all lie in [0, 255]; 65535, if all lie in [0, 65535]; otherwise the image's
    largest value, and its smallest is black. These two are taken also where more than 16 different
    values would all be black to the eye, below 4 of 256. Values in between are rounded to the
    nearest of 256. What a PNG has as its transparent value stays transparent.

    Raises:
        ValueError: for floats that are not finite, and for 16-bit pixels that would all be black to
            the eye, or, where 0 is white, white.
    """
    if image.mode[0] not in "IF" and not _is_signed(image):
        return image
    values = _values(image)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    black, white = _range(image, values)
    scaled = (
        np.clip((values - black) / (white - black), 0, 1)
        if white > black
        else np.zeros_like(values)
    )
    if _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 1 - scaled
    grey = Image.fromarray(np.rint(scaled * 255).astype(np.uint8))
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _is_signed(image: Image.Image) -> bool:
    """Whether it is a TIFF of 8 bits below and above 0, which PIL takes for 0 to 255."""
    return image.mode == "L" and _tag(image, SAMPLE_FORMAT) == SIGNED


def _values(image: Image.Image) -> np.ndarray:
    """With the signs that the file means, which PIL's modes cannot say."""
    pixels = np.asarray(image)
    if image.mode == "L":
        pixels = pixels.view(np.int8)
    elif (
        image.mode == "I"
        and _tag(image, BITS) == 32
        and _tag(image, SAMPLE_FORMAT, UNSIGNED) == UNSIGNED
    ):
        pixels = pixels.view(np.uint32)
    return pixels.astype(np.float64)


def _range(image: Image.Image, values: np.ndarray) -> tuple[float, float]:
    """Values of black and white."""
    low, high = float(values.min()), float(values.max())
    white = _stated_white(image, high)
    if white is not None:
        if _is_black(values, high, white):
            told = (
                f"its values, {low:.0f} to {high:.0f}, cannot be told apart on their scale of 0 to "
                f"{white:.0f}"
            )
            raise ValueError(f"{told}: scale them to it")
        return 0.0, white
    for likely in ([1.0] if image.mode == "F" else []) + [255.0, 65535.0]:
        if low >= 0 and high <= likely:
            return (low, high) if _is_black(values, high, likely) else (0.0, likely)
    return low, high


def _stated_white(image: Image.Image, high: float) -> float | None:
    """By the file's format or tags."""
    if image.mode.startswith("I;16"):
        told = _tag(image, MAX_SAMPLE, 0)
        return float(told) if told >= high > 0 else 2.0 ** _tag(image, BITS, 16) - 1
    return 65535.0 if image.mode == "I" and image.format in ("PNG", "PPM") else None


def _is_black(values: np.ndarray, high: float, white: float) -> bool:
    return high * 255 < DARKEST * white and len(np.unique(values)) > MANY


def _tag(image: Image.Image, number: int, missing: int | None = None) -> Any:
    """The first value of a TIFF's tag."""
    value = getattr(image, "tag_v2", {}).get(number)
    return missing if value is None else np.ravel(value)[0]
