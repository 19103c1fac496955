"""Colours as the image's own profile means them, in sRGB, as viewers show them."""

from functools import lru_cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms

SRGB_GAMMA = 1 / 2.2
SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}


def to_srgb(image: Image.Image, keep_alpha: bool) -> Image.Image:
    """An image in RGB, or RGBA. A profile that is sRGB anyway, that is damaged or that belongs to
    pixels of another kind changes nothing. Of each profile what was computed is kept.

    Args:
        image: of any mode of 8 bits; LAB has no profile of its own.
        keep_alpha: whether to return RGBA.
    """
    alpha = image.convert("RGBA").getchannel("A") if keep_alpha else None
    plain = _opaque(image)
    transform = _transform(
        image.info.get("icc_profile") if image.mode != "LAB" else None, plain.mode
    )
    if transform is not None:
        seen: Any = ImageCms.applyTransform(plain, transform)
    else:
        seen = plain.convert("RGB")
    if alpha is not None:
        seen.putalpha(alpha)
    return seen


def from_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """An image in RGB or RGBA that says, as PNGs do, that its values are the light to the power of
    `gamma`, in sRGB. One that is within a twentieth of sRGB's own stays as it is."""
    power = SRGB_GAMMA / gamma if gamma > 0 else 1.0
    if abs(power - 1) < 0.05:
        return image
    curve = [round(255 * (value / 255) ** power) for value in range(256)]
    return image.point(curve * 3 + list(range(256)) * (image.mode == "RGBA"))


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in SPACES:
        return image
    return image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")


@lru_cache(maxsize=64)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where nothing is to be done."""
    if mode != "LAB" and profile is None:
        return None
    try:
        source = ImageCms.createProfile("LAB") if mode == "LAB" else _read(profile or b"", mode)
        return source and ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _read(profile: bytes, mode: str) -> ImageCms.ImageCmsProfile | None:
    opened = ImageCms.ImageCmsProfile(BytesIO(profile))
    about: Any = opened.profile
    is_srgb = "sRGB" in (about.profile_description or "")
    return None if is_srgb or about.xcolor_space != SPACES[mode] else opened
