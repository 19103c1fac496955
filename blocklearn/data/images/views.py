"""Recipes for images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as F

from blocklearn.data.images.colour_work import COLUMNS, ColourWork, do_colour_work, to_device
from blocklearn.data.sound.resample import crop_and_resize, draw_crops
from blocklearn.data.view_recipe import ViewRecipe

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue in PIL's mode "L"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What a data set asks of a recipe.

    Attributes:
        size: height and width of a view in pixels.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        grey: mean and standard deviation of the grey pixels in [0, 1]; null to derive them from
            those of the colours.
    """

    size: int
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    grey: tuple[float, float] | None = None

    def in_grey(self) -> "ImageSpec":
        """The same with the statistics of one grey channel. Where `grey` is not given they follow
        from the colours' by the weights of PIL's mode "L" (ITU-R 601-2): the mean is exact, the
        standard deviation an upper bound, reached where the colours rise and fall together."""
        mean, std = self.grey or (
            sum(weight * value for weight, value in zip(LUMA, values, strict=True))
            for values in (self.mean, self.std)
        )
        return ImageSpec(self.size, (mean,), (std,), (mean, std))


class PILGaussianBlur(torch.nn.Module):
    """Gaussian blur with PIL's radius drawn uniformly from `[0.1, 2.0]`, with probability `p`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, image: Image.Image) -> Image.Image:
        if torch.rand(()) >= self.p:
            return image
        return image.filter(
            ImageFilter.GaussianBlur(radius=float(torch.empty(()).uniform_(0.1, 2.0)))
        )


class CroppedView(NamedTuple):
    """A view whose colours are still to be worked on; of a batch, with another axis in front.

    Attributes:
        pixels: `(size, size, 3)`, uint8.
        draws: `(COLUMNS,)` of `ColourWork`.
    """

    pixels: Tensor
    draws: Tensor


class BarlowTwinsViews(ViewRecipe):
    """The two-view recipe of BYOL and Barlow Twins as published (arXiv 2103.03230, section 2.2;
    2302.01647): random resized crop (bicubic), flip, colour jitter, greyscale, Gaussian blur,
    solarisation, normalisation. Pairs are (view 1, view 2). Probes: random resized crop and flip;
    test: shorter side to `size * resize_ratio`, centre crop.

    Args:
        spec: size and statistics of the images.
        min_scale: smallest part of the image's area that a crop keeps, in (0, 1].
        flip: probability of a horizontal flip.
        jitter: strengths of brightness, contrast, saturation, hue.
        jitter_probability: in [0, 1].
        greyscale: probability.
        blur: probability in each view.
        solarise: probability in each view.
        resize_ratio: for testing, shorter side before the centre crop over the crop; 256 / 224
            published.
        colour: where training views get their colours. `host`: sample by sample in the loader's
            processes, by PIL, as published. `device`: batch by batch beside the network, from the
            same draws; the host then makes three times as many views a second, a gain where the
            network runs on a GPU. The two differ by PIL's cutting off of decimals after every
            operation, its Gaussian made of box filters, and, seldom, a clipped overshoot of the
            bicubic crop.

    Raises:
        ValueError: for another `colour`.
    """

    def __init__(
        self,
        spec: ImageSpec,
        min_scale: float = 0.08,
        flip: float = 0.5,
        jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
        jitter_probability: float = 0.8,
        greyscale: float = 0.2,
        blur: tuple[float, float] = (1.0, 0.1),
        solarise: tuple[float, float] = (0.0, 0.2),
        resize_ratio: float = 256 / 224,
        colour: Literal["host", "device"] = "host",
    ) -> None:
        if colour not in ("host", "device"):
            raise ValueError(f"colour must be host or device, got {colour}")

        def crop(bicubic: bool) -> T.RandomResizedCrop:
            mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
            return T.RandomResizedCrop(spec.size, scale=(min_scale, 1.0), interpolation=mode)

        self.size, self.colour, self.flip, self._crop = spec.size, colour, flip, crop(bicubic=True)
        self._to_tensor = finish = ToNormalisedTensor(spec)
        self._works = [
            ColourWork(jitter, jitter_probability, greyscale, blur[view], solarise[view])
            for view in range(2)
        ]
        self._training = [
            T.Compose(
                [
                    self._crop,
                    T.RandomHorizontalFlip(flip),
                    T.RandomApply([T.ColorJitter(*jitter)], p=jitter_probability),
                    T.RandomGrayscale(greyscale),
                    PILGaussianBlur(blur[view]),
                    T.RandomSolarize(threshold=128, p=solarise[view]),
                    finish,
                ]
            )
            for view in range(2)
        ]
        self._probe = T.Compose([crop(bicubic=False), T.RandomHorizontalFlip(flip), finish])
        self._plain = T.Compose(
            [T.Resize(round(spec.size * resize_ratio)), T.CenterCrop(spec.size), finish]
        )

    def training_view(self, image: Image.Image, view: int) -> Any:
        if self.colour == "host":
            return self._training[view](image)
        box = self._crop.make_params([image])
        left, top = box["left"], box["top"]
        part = image.crop((left, top, left + box["width"], top + box["height"]))
        if torch.rand(1) < self.flip:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        # Torch's resampling of uint8 is PIL's in a third of its time, but for the order of the two
        # passes: what the first
        # overshoots is clipped before the second.
        pixels = F.resize(
            torch.from_numpy(np.array(part)).permute(2, 0, 1),
            [self.size, self.size],
            InterpolationMode.BICUBIC,
            antialias=True,
        )
        return CroppedView(pixels.permute(1, 2, 0).contiguous(), self._works[view].draw())

    def finish(self, view: CroppedView, device: torch.device) -> Tensor:
        images = (
            to_device(view.pixels, device)
            .permute(0, 3, 1, 2)
            .to(torch.float32, memory_format=torch.contiguous_format)
        )
        return self._to_tensor.normalise(do_colour_work(images.div_(255), view.draws))

    def draw_views(
        self, count: int, view: int, height: int, width: int, generator: torch.Generator
    ) -> Tensor:
        crops = draw_crops(count, height, width, self._crop.scale, self.flip, generator)
        return torch.cat([crops, self._works[view].draw_many(count, generator)], 1)

    def views_of(self, images: Tensor, draws: Tensor) -> Tensor:
        crops, draws = draws.tensor_split([draws.shape[1] - COLUMNS], dim=1)
        pixels = crop_and_resize(images, to_device(crops, images.device), self.size)
        return self._to_tensor.normalise(do_colour_work(pixels, draws))

    def probe_view(self, image: Image.Image) -> Tensor:
        return self._probe(image)

    def plain_view(self, image: Image.Image) -> Tensor:
        return self._plain(image)


class SingleView(BarlowTwinsViews):
    """One view by random resized crop and flip, as supervised training on ImageNet has it.

    Args:
        spec: size and statistics of the images.
        min_scale: smallest part of the image's area that a crop keeps, in (0, 1].
        flip: probability of a horizontal flip.
        resize_ratio: for testing, shorter side before the centre crop over the crop.
    """

    num_views = 1

    def __init__(
        self,
        spec: ImageSpec,
        min_scale: float = 0.08,
        flip: float = 0.5,
        resize_ratio: float = 256 / 224,
    ) -> None:
        super().__init__(spec, min_scale, flip, resize_ratio=resize_ratio)

    def training_view(self, image: Image.Image, view: int) -> Tensor:
        return self.probe_view(image)

    def draw_views(
        self, count: int, view: int, height: int, width: int, generator: torch.Generator
    ) -> Tensor:
        return ViewRecipe.draw_views(self, count, view, height, width, generator)


class SmallImageViews(BarlowTwinsViews):
    """The same for images of about 32 pixels: larger crops, no blur, and the whole image at test
    time, as the CIFAR recipes of solo-learn and lightly have it."""

    def __init__(
        self,
        spec: ImageSpec,
        min_scale: float = 0.2,
        flip: float = 0.5,
        jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
        jitter_probability: float = 0.8,
        greyscale: float = 0.2,
        solarise: tuple[float, float] = (0.0, 0.2),
        colour: Literal["host", "device"] = "host",
    ) -> None:
        no_blur = (0.0, 0.0)
        super().__init__(
            spec,
            min_scale,
            flip,
            jitter,
            jitter_probability,
            greyscale,
            no_blur,
            solarise,
            1.0,
            colour,
        )


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


class ToNormalisedTensor(torch.nn.Module):
    """RGB or grey PIL image to a float `(3, H, W)` or `(1, H, W)` tensor with the mean and standard
    deviation of `spec` taken out. Equal to torchvision's ToImage, ToDtype and Normalize, in a fifth
    of their time on small images."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self._scale = 1 / (255 * torch.tensor(spec.std)).reshape(-1, 1, 1)
        self._shift = -(torch.tensor(spec.mean) / torch.tensor(spec.std)).reshape(-1, 1, 1)

    def forward(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1)
        return torch.addcmul(self._shift, pixels.float(), self._scale)

    def normalise(self, images: Tensor) -> Tensor:
        """The same for floats `(..., C, H, W)` in [0, 1], on their device; they are written
        over."""
        scale, shift = (
            to_device(tensor, images.device) for tensor in (255 * self._scale, self._shift)
        )
        return images.mul_(scale).add_(shift)
