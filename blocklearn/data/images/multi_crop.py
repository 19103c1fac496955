"""Two large views and several small ones."""

from dataclasses import replace
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from blocklearn.data.images.image_spec import ImageSpec
from blocklearn.data.images.views import BarlowTwinsViews
from blocklearn.data.view_recipe import ViewRecipe

WHOLE = 16  # pixels that a small view's size is a multiple of by default: a patch of most ViTs


class MultiCrop(ViewRecipe):
    """Two views of large crops in the images' size and some of small crops in a smaller size, the
    large ones first: SwAV's multi-crop (arXiv 2006.09882, section 3.2), and DINO's (2104.14294).
    Crops, colours and blur are drawn as in `BarlowTwinsViews`; the defaults are DINO's as
    published. SwAV has `scale: [0.14, 1]`, `small_scale: [0.05, 0.14]`, `num_small: 6`, `jitter:
    [0.8, 0.8, 0.8, 0.2]`, `blur: [0.5, 0.5]` and no solarisation. Probes and tests are those of
    `BarlowTwinsViews`.

    It is for objectives that take any number of views: DINO, BYOL, SimSiam, SwAV, Supervised. A
    backbone that insists on one size of images is refused.

    Args:
        spec: size and statistics of the images.
        num_small: small views, >= 0; 8 in DINO, 6 in SwAV.
        small_size: height and width of a small view in pixels, at least 8; null for 3/7 of the
            large one's, to whole 16: 96 of 224, as published.
        scale: smallest and largest part of the image's area that a large crop keeps, in (0, 1].
        small_scale: that of a small crop.
        flip: probability of a horizontal flip.
        jitter: strengths of brightness, contrast, saturation, hue.
        jitter_probability: in [0, 1].
        greyscale: probability.
        blur: probability in each large view.
        small_blur: probability in a small view.
        solarise: probability in each large view.
        resize_ratio: for testing, shorter side before the centre crop over the crop.
        colour: where training views get their colours, `host` or `device`, as in
            `BarlowTwinsViews`.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(
        self,
        spec: ImageSpec,
        num_small: int = 8,
        small_size: int | None = None,
        scale: tuple[float, float] = (0.4, 1.0),
        small_scale: tuple[float, float] = (0.05, 0.4),
        flip: float = 0.5,
        jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
        jitter_probability: float = 0.8,
        greyscale: float = 0.2,
        blur: tuple[float, float] = (1.0, 0.1),
        small_blur: float = 0.5,
        solarise: tuple[float, float] = (0.0, 0.2),
        resize_ratio: float = 256 / 224,
        colour: Literal["host", "device"] = "host",
    ) -> None:
        small_size = small_size or max(round(spec.size * 3 / 7 / WHOLE), 1) * WHOLE
        _require(num_small, small_size, scale, small_scale)
        shared = {
            "flip": flip,
            "jitter": jitter,
            "jitter_probability": jitter_probability,
            "greyscale": greyscale,
            "resize_ratio": resize_ratio,
            "colour": colour,
        }
        small_spec, blurs = replace(spec, size=small_size), (small_blur, small_blur)
        no = (0.0, 0.0)
        self._large = BarlowTwinsViews(
            spec, scale[0], max_scale=scale[1], blur=blur, solarise=solarise, **shared
        )
        self._small = BarlowTwinsViews(
            small_spec, small_scale[0], max_scale=small_scale[1], blur=blurs, solarise=no, **shared
        )
        # A probe's view is of any part of the image, as it is behind other recipes.
        self._probe = BarlowTwinsViews(spec, flip=flip, resize_ratio=resize_ratio)
        self.num_views = 2 + num_small
        self.small_size = small_size

    def sizes(self, size: int | None) -> list[int | None]:
        return [size, size, *[self.small_size] * (self.num_views - 2)]

    def training_view(self, sample: Image.Image, view: int) -> Any:
        recipe, number = self._of(view)
        return recipe.training_view(sample, number)

    def finish(self, view: Any, device: torch.device) -> Tensor:
        return self._large.finish(view, device)

    def draw_views(
        self, count: int, view: int, height: int, width: int, generator: torch.Generator
    ) -> Tensor:
        recipe, number = self._of(view)
        draws = recipe.draw_views(count, number, height, width, generator)
        return torch.cat([draws, draws.new_full((count, 1), view)], dim=1)

    def views_of(self, images: Tensor, draws: Tensor) -> Tensor:
        recipe, _ = self._of(int(draws[0, -1]))
        return recipe.views_of(images, draws[:, :-1])

    def probe_view(self, sample: Image.Image) -> Tensor:
        return self._probe.probe_view(sample)

    def plain_view(self, sample: Image.Image) -> Tensor:
        return self._probe.plain_view(sample)

    def _of(self, view: int) -> tuple[BarlowTwinsViews, int]:
        """Who makes view number `view`, and which of its two it is there."""
        return (self._large, view) if view < 2 else (self._small, view % 2)


def _require(
    num_small: int,
    small_size: int,
    scale: tuple[float, float],
    small_scale: tuple[float, float],
) -> None:
    ordered = all(0 < least <= most <= 1 for least, most in (scale, small_scale))
    if num_small < 0 or small_size < 8 or not ordered:
        raise ValueError(
            "MultiCrop needs num_small >= 0, small_size >= 8 and scales with 0 < smallest <= "
            f"largest <= 1, got {num_small}, {small_size}, {tuple(scale)} and {tuple(small_scale)}"
        )
