"""From an image file to the RGB picture that a viewer shows."""

import io
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from torchvision.datasets.folder import IMG_EXTENSIONS

from blocklearn.data.images.colour_profile import from_gamma, to_srgb
from blocklearn.data.images.pixel_range import in_8_bits
from blocklearn.errors import UnreadableSample

SUFFIXES = (*IMG_EXTENSIONS, ".jfif", ".jpe", ".gif", ".apng", ".jp2", ".avif", ".tga", ".dib")
PIL_WARNINGS = (  # as `warnings.simplefilter` and `filterwarnings` keep them
    ("ignore", None, Image.DecompressionBombWarning, None, 0),
    ("ignore", None, UserWarning, re.compile(r"PIL\."), 0),
)
BACKGROUND = (128, 128, 128)  # shows black and white drawings on transparent ground alike
KEY_SCALE = {
    "L;2": 85,
    "L;4": 17,
}  # of the one grey that a PNG calls transparent, by the depth of the file
# formats; a second picture in a JPEG is a camera's preview
SEVERAL = (
    "GIF",
    "PNG",
    "WEBP",
    "AVIF",
    "TIFF",
)
PREVIEW, PAGE_KIND = 0b101, 254  # TIFF's tag of a page, and its bits for a smaller copy and a mask
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# where a file may say how it lies
TURNED = (
    "exif",
    "xmp",
    "XML:com.adobe.xmp",
    "Raw profile type exif",
)


def read_image(
    path: Path, is_animated: Callable[[int], None] | None = None, content: bytes | None = None
) -> Image.Image:
    """The image in a file, in RGB, as `as_seen` makes it; of several pictures the first.

    An image of more pixels than PIL's `Image.MAX_IMAGE_PIXELS` (89 million) is not decoded.

    Args:
        path: of the file.
        is_animated: called with the number of pictures where there are several.
        content: of the file, where it lies elsewhere and `path` only names it.

    Raises:
        UnreadableSample: whatever is wrong with the file.
    """
    _silence_pil()
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            _require_few_pixels(image)
            seen = as_seen(image)
            pictures = _count_pictures(image) if is_animated and image.format in SEVERAL else 1
    except Exception as error:  # what PIL's plugins raise on damaged files is of every kind
        empty = _is_empty(path) if content is None else not content
        raise UnreadableSample(path, _reason(error, empty), "image") from error
    if is_animated and pictures > 1:
        is_animated(pictures)
    return seen


def as_seen(image: Image.Image) -> Image.Image:
    """An image of any mode, depth and palette as a viewer shows it, in 8-bit RGB: turned as its
    metadata says, its colours taken from its profile into sRGB, its 16-bit, 32-bit and float pixels
    within their range (`pixel_range.in_8_bits`), and what is transparent on mid grey.

    Raises:
        ValueError: where nothing can be seen: every pixel is transparent, or one of the reasons of
            `in_8_bits`.
    """
    if "transparency" in image.info:
        _scale_key(image)
    image.load()
    image = in_8_bits(image)
    info, transparent = image.info, image.has_transparency_data
    if image.mode == "LAB" or "icc_profile" in info:
        seen = to_srgb(
            image.convert("RGBA") if transparent and image.mode in ("P", "PA") else image,
            transparent,
        )
    else:
        seen = image.convert("RGBA" if transparent else "RGB")
        if "gamma" in info and "srgb" not in info:
            seen = from_gamma(seen, info["gamma"])
    if transparent:
        seen = _on_grey(seen)
    if any(key in info for key in TURNED):
        seen = _upright(image, seen)
    return seen


def _count_pictures(image: Image.Image) -> int:
    """After the first is read, and 1 where those behind it are damaged: whether a file can be read
    must not depend on whether it is asked for more than its first."""
    with suppress(Exception):
        pictures = int(getattr(image, "n_frames", 1))
        if pictures > 1 and image.format == "TIFF":
            image.seek(1)
            return 1 if getattr(image, "tag_v2", {}).get(PAGE_KIND, 0) & PREVIEW else pictures
        return pictures
    return 1


def _scale_key(image: Image.Image) -> None:
    """Give a PNG's transparent colour the depth of the pixels: PIL leaves it as the file has it. Of
    16 bits PIL keeps the upper half, and so is what is compared."""
    tiles = getattr(image, "tile", None)
    depth = str(tiles[0][3]) if image.format == "PNG" and tiles else ""
    key = image.info["transparency"]
    if depth in KEY_SCALE:
        image.info["transparency"] = key * KEY_SCALE[depth]
    elif depth == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _on_grey(image: Image.Image) -> Image.Image:
    if image.getchannel("A").getextrema()[1] == 0:
        raise ValueError("every pixel of it is transparent")
    return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")


def _upright(image: Image.Image, seen: Image.Image) -> Image.Image:
    """`seen` turned as the metadata of `image` says; where that is damaged, as it lies, which is
    what viewers show."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return seen
    return seen if turn is None else seen.transpose(turn)


def _require_few_pixels(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(
            f"{image.width} x {image.height} pixels are more than the {limit} that PIL takes"
        )


def _silence_pil() -> None:
    """PIL warns of a large image when it is opened, before we can refuse it, and of damaged
    metadata of images that it reads. Not by `warnings.catch_warnings`, which makes Python repeat
    all warnings that it has shown already."""
    if PIL_WARNINGS[1] not in warnings.filters:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _reason(error: Exception, empty: bool) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is empty" if empty else "it is no image that PIL knows"
    if isinstance(error, Image.DecompressionBombError):  # above twice the limit PIL itself refuses
        pixels = re.search(r"\d+", str(error))
        return (
            f"{pixels[0] if pixels else 'its'} pixels are more than the {Image.MAX_IMAGE_PIXELS} "
            "that PIL takes"
        )
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (OSError, ValueError, SyntaxError)) and str(error):
        return str(error)
    return f"it is damaged ({type(error).__name__}: {error})"


def _is_empty(path: Path) -> bool:
    with suppress(OSError):
        return path.stat().st_size == 0
    return False
