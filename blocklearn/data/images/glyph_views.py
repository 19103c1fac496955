"""Views of drawn signs, such as digits."""

import math

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from blocklearn.data.images.colour_work import to_device
from blocklearn.data.images.image_spec import ImageSpec, ToNormalisedTensor
from blocklearn.data.view_recipe import ViewRecipe


class GlyphViews(ViewRecipe):
    """For digits and letters, where a flip changes the meaning: small rotation, zoom, shear and
    shift, then another brightness and contrast. The image is enlarged and moved in one resampling
    (bilinear, zeros outside).

    Args:
        spec: size and statistics of the images.
        degrees: largest rotation, and largest shear.
        zoom: largest relative change of the scale.
        shift: largest shift, as a part of the size.
        contrast: largest change of the contrast, and of the brightness in standard deviations.
    """

    def __init__(
        self,
        spec: ImageSpec,
        degrees: float = 15,
        zoom: float = 0.2,
        shift: float = 0.12,
        contrast: float = 0.4,
    ) -> None:
        self.size, self.degrees, self.zoom, self.shift, self.contrast = (
            spec.size,
            degrees,
            zoom,
            shift,
            contrast,
        )
        self._to_tensor = ToNormalisedTensor(spec)

    def training_view(self, image: Image.Image, view: int) -> Tensor:
        gain, offset = torch.empty(2).uniform_(-self.contrast, self.contrast).tolist()
        return self.probe_view(image).mul_(1 + gain).add_(offset)

    def draw_views(
        self, count: int, view: int, height: int, width: int, generator: torch.Generator
    ) -> Tensor:
        return torch.empty(count, 7).uniform_(-1, 1, generator=generator)

    def views_of(self, images: Tensor, draws: Tensor) -> Tensor:
        """In floats, without PIL's rounding to whole grey levels."""
        gain, offset, rotation, shear, zoom, right, down = to_device(draws, images.device)[
            :, :, None, None
        ].unbind(1)
        rotation, shear, zoom = (
            torch.deg2rad(self.degrees * rotation),
            torch.deg2rad(self.degrees * shear),
            1 + self.zoom * zoom,
        )
        cos, sin, tan = rotation.cos(), rotation.sin(), shear.tan()
        place = (torch.arange(self.size, device=images.device) + 0.5) / self.size - 0.5
        x, y = place - self.shift * right, place[:, None] - self.shift * down
        source = (
            torch.stack([cos * x + (cos * tan - sin) * y, sin * x + (sin * tan + cos) * y], -1)
            * (2 / zoom)[..., None]
        )
        moved = grid_sample(images / 255, source, padding_mode="border", align_corners=False)
        moved *= (source.abs() <= 1).all(-1)[:, None]
        return (
            self._to_tensor.normalise(moved)
            .mul_(1 + self.contrast * gain[:, None])
            .add_(self.contrast * offset[:, None])
        )

    def probe_view(self, image: Image.Image) -> Tensor:
        rotation, shear, zoom, right, down = torch.empty(5).uniform_(-1, 1).tolist()
        rotation, shear = math.radians(self.degrees * rotation), math.radians(self.degrees * shear)
        return self._resample(
            image, rotation, shear, 1 + self.zoom * zoom, self.shift * right, self.shift * down
        )

    def plain_view(self, image: Image.Image) -> Tensor:
        return self._resample(image)

    def _resample(
        self,
        image: Image.Image,
        rotation: float = 0.0,
        shear: float = 0.0,
        zoom: float = 1.0,
        right: float = 0.0,
        down: float = 0.0,
    ) -> Tensor:
        # PIL wants the map from output to input pixels. In units of the size and from the centre it
        # is
        # rotation @ shear / zoom, applied after the shift is taken back.
        cos, sin, tan = math.cos(rotation), math.sin(rotation), math.tan(shear)
        a, b, d, e = cos / zoom, (cos * tan - sin) / zoom, sin / zoom, (sin * tan + cos) / zoom
        x, y = 0.5 + right, 0.5 + down
        width, height = image.width, image.height
        matrix = (
            a * width / self.size,
            b * width / self.size,
            (0.5 - a * x - b * y) * width,
            d * height / self.size,
            e * height / self.size,
            (0.5 - d * x - e * y) * height,
        )
        moved = image.transform(
            (self.size, self.size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        return self._to_tensor(moved)
