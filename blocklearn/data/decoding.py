"""From an image file to the RGB picture that a viewer shows."""

import re
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from blocklearn.errors import UnreadableSample

PIL_WARNING = ("ignore", None, Image.DecompressionBombWarning, None, 0)  # as `warnings.simplefilter` keeps it


def read_image(path: Path) -> Image.Image:
    """The image in a file, in RGB.

    An image of more pixels than PIL's `Image.MAX_IMAGE_PIXELS` (89 million) is not decoded.

    Raises:
        UnreadableSample: whatever is wrong with the file.
    """
    _silence_pil()
    try:
        with Image.open(path) as image:
            _require_few_pixels(image)
            return to_rgb(image)
    except Exception as error:  # what PIL's plugins raise on damaged files is of every kind
        raise UnreadableSample(path, _reason(path, error), "image") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as PIL converts it, but for 16-bit, 32-bit and float pixels, which PIL clips at 255.

    Of 16-bit pixels 65535 is white. 32-bit integers and floats do not say what white is: 1 for floats that all lie in
    [0, 1]; otherwise 255, if all lie in [0, 255]; 65535, if all lie in [0, 65535]; otherwise the image's largest value,
    and its smallest is black. Values in between are rounded to the nearest of 256.

    Raises:
        ValueError: for floats that are not finite.
    """
    if image.mode[0] not in "IF":
        return image.convert("RGB")
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    black, white = _range(image.mode, float(values.min()), float(values.max()))
    scale = 255 / (white - black) if white > black else 0.0
    return Image.fromarray(np.rint((values - black) * scale).astype(np.uint8)).convert("RGB")


def _range(mode: str, low: float, high: float) -> tuple[float, float]:
    """Values of black and white."""
    if mode.startswith("I;16"):
        return 0.0, 65535.0
    for white in ([1.0] if mode == "F" else []) + [255.0, 65535.0]:
        if low >= 0 and high <= white:
            return 0.0, white
    return low, high


def _require_few_pixels(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(f"{image.width} x {image.height} pixels are more than the {limit} that PIL takes")


def _silence_pil() -> None:
    """PIL warns of a large image when it is opened, before we can refuse it. Not by `warnings.catch_warnings`, which makes
    Python repeat all warnings that it has shown already."""
    if PIL_WARNING not in warnings.filters:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is empty" if _is_empty(path) else "it is no image that PIL knows"
    if isinstance(error, Image.DecompressionBombError):  # above twice the limit PIL itself refuses
        pixels = re.search(r"\d+", str(error))
        return f"{pixels[0] if pixels else 'its'} pixels are more than the {Image.MAX_IMAGE_PIXELS} that PIL takes"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (OSError, ValueError, SyntaxError)) and str(error):
        return str(error)
    return f"it is damaged ({type(error).__name__}: {error})"


def _is_empty(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_size == 0
    return False
