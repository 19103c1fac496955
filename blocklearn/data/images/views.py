"""Recipes for images."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as F

from blocklearn.data.images.colour_work import COLUMNS, ColourWork, do_colour_work, to_device
from blocklearn.data.images.image_spec import ImageSpec, ToNormalisedTensor
from blocklearn.data.sound.resample import crop_and_resize, draw_crops
from blocklearn.data.view_recipe import ViewRecipe


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
            same draws; the host then makes three times as many views per second, a gain where the
            network runs on a GPU. The two differ by PIL's cutting off of decimals after every
            operation, its Gaussian made of box filters, and, seldom, a clipped overshoot of the
            bicubic crop.
        max_scale: largest part of the image's area that a crop keeps, in (0, 1].

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
        max_scale: float = 1.0,
    ) -> None:
        if colour not in ("host", "device"):
            raise ValueError(f"colour must be host or device, got {colour}")

        def crop(bicubic: bool) -> T.RandomResizedCrop:
            mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
            return T.RandomResizedCrop(spec.size, scale=(min_scale, max_scale), interpolation=mode)

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
