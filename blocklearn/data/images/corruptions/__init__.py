"""The corruptions of ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261), made on the fly: 15
that count, 4 extra, 5 severities each."""

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from blocklearn.data.images.corruptions.blur import (
    defocus_blur,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from blocklearn.data.images.corruptions.digital import (
    brightness,
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
    saturate,
)
from blocklearn.data.images.corruptions.noise import (
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from blocklearn.data.images.corruptions.shared import SEVERITIES, Corruption, Pixels
from blocklearn.data.images.corruptions.weather import fog, frost, snow, spatter
from blocklearn.seeding import fold_seed

_COUNTED: tuple[Corruption, ...] = (
    *(gaussian_noise, shot_noise, impulse_noise),
    *(defocus_blur, glass_blur, motion_blur, zoom_blur),
    *(snow, frost, fog, brightness),
    *(contrast, elastic_transform, pixelate, jpeg_compression),
)
_EXTRA: tuple[Corruption, ...] = (speckle_noise, gaussian_blur, spatter, saturate)

CORRUPTIONS: dict[str, Corruption] = {make.__name__: make for make in (*_COUNTED, *_EXTRA)}
COUNTED = tuple(make.__name__ for make in _COUNTED)  # in the mean corruption error
EXTRA = tuple(make.__name__ for make in _EXTRA)


def corrupt(pixels: Pixels, name: str, severity: int, seed: int) -> Pixels:
    """An image under one corruption; the draws depend on (seed, name, severity) alone.

    Args:
        pixels: `(H, W, 3)`, uint8, as the network would see them; at least 8 a side.
        name: of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of this image.

    Raises:
        ValueError: for a name that is not known, with the nearest that is, a severity out of range
            and pixels of another kind.
    """
    require_known([name])
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels must be uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    draws = np.random.default_rng(fold_seed(seed, list(CORRUPTIONS).index(name), severity))
    return CORRUPTIONS[name](pixels, severity, draws)


def require_known(names: Sequence[str]) -> None:
    """Raises:
    ValueError: for a name that is not known, with the nearest that is.
    """
    for name in names:
        if name not in CORRUPTIONS:
            near = get_close_matches(name, CORRUPTIONS, 1, 0.4)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(CORRUPTIONS)}"
            raise ValueError(f"no corruption is called {name}; {meant}")


__all__ = ["CORRUPTIONS", "COUNTED", "EXTRA", "SEVERITIES", "corrupt", "require_known"]
