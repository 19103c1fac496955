"""The colour part of a recipe: drawn sample by sample as torchvision draws it, done batch by batch
on the device."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2 as T

from blocklearn.data.images import colour

BLUR_SIGMA = (0.1, 2.0)  # in pixels

# Columns of a table of draws. The order has the number of one of the four jitters at each place; a
# jitter that leaves the
# image alone has `IDLE` for a strength, blur a sigma of 0.
ORDER, STRENGTH, GREYSCALE, SIGMA, SOLARISE, COLUMNS = slice(0, 4), slice(4, 8), 8, 9, 10, 11
JITTERS = (colour.brightness, colour.contrast, colour.saturation, colour.hue)
IDLE = (1.0, 1.0, 1.0, 0.0)


class ColourWork:
    """Colour jitter, greyscale, Gaussian blur, solarisation, in this order, each with a
    probability; the four jitters in an order of their own for every sample.

    Args:
        jitter: strengths of brightness, contrast, saturation, hue, as in torchvision's
            `ColorJitter`.
        jitter_probability: in [0, 1].
        greyscale: probability.
        blur: probability; sigma is uniform in [0.1, 2] pixels.
        solarise: probability; from half of the range up.
    """

    def __init__(
        self,
        jitter: tuple[float, float, float, float],
        jitter_probability: float,
        greyscale: float,
        blur: float,
        solarise: float,
    ) -> None:
        self.jitter = T.ColorJitter(*jitter)
        self.jitter_probability = jitter_probability
        self.greyscale, self.blur, self.solarise = greyscale, blur, solarise

    def draw(self) -> Tensor:
        """`(COLUMNS,)` for one sample, from torch's global stream, in the order in which
        torchvision's transforms on PIL images draw, so that both make the same view."""
        draws = torch.zeros(COLUMNS)
        draws[ORDER], draws[STRENGTH] = torch.arange(4.0), torch.tensor(IDLE)
        if torch.rand(1) < self.jitter_probability:
            drawn = self.jitter.make_params([])
            names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
            draws[ORDER] = drawn["fn_idx"].float()
            draws[STRENGTH] = torch.tensor(
                [
                    idle if drawn[n] is None else drawn[n]
                    for n, idle in zip(names, IDLE, strict=True)
                ]
            )
        draws[GREYSCALE] = torch.rand(1) < self.greyscale
        if torch.rand(()) < self.blur:
            draws[SIGMA] = torch.empty(()).uniform_(*BLUR_SIGMA)
        draws[SOLARISE] = torch.rand(1) < self.solarise
        return draws

    def draw_many(self, count: int, generator: torch.Generator) -> Tensor:
        """`(count, COLUMNS)` from `generator`: as `draw`, for many samples at once."""
        idle = torch.tensor(IDLE)
        ranges = (
            self.jitter.brightness,
            self.jitter.contrast,
            self.jitter.saturation,
            self.jitter.hue,
        )
        low, high = torch.tensor([r or (i, i) for r, i in zip(ranges, IDLE, strict=True)]).unbind(1)
        places, strengths = torch.rand(2, count, 4, generator=generator)
        jittered, grey, blurred, solarised, sigma = torch.rand(5, count, generator=generator)
        draws = torch.zeros(count, COLUMNS)
        draws[:, ORDER] = places.argsort(1).float()
        draws[:, STRENGTH] = torch.where(
            (jittered < self.jitter_probability)[:, None], torch.lerp(low, high, strengths), idle
        )
        draws[:, GREYSCALE] = grey < self.greyscale
        draws[:, SIGMA] = torch.where(
            blurred < self.blur, BLUR_SIGMA[0] + (BLUR_SIGMA[1] - BLUR_SIGMA[0]) * sigma, 0
        )
        draws[:, SOLARISE] = solarised < self.solarise
        return draws


class _Step(NamedTuple):
    work: Callable[[Tensor, Tensor], Tensor]
    members: Tensor
    strength: Tensor


def do_colour_work(images: Tensor, draws: Tensor) -> Tensor:
    """Do what the draws say; an operation touches only the images that it was drawn for.

    Args:
        images: `(B, 3, H, W)` floats in [0, 1], on any device; written over.
        draws: `(B, COLUMNS)`, on the CPU, so that the host need not ask the device which image
            needs what.

    Returns:
        the images.
    """
    steps = list(_steps(draws))
    if not steps:
        return images
    counts = [len(step.members) for step in steps]
    members = to_device(torch.cat([step.members for step in steps]), images.device).split(counts)
    strengths = to_device(torch.cat([step.strength for step in steps]), images.device).split(counts)
    for step, index, strength in zip(steps, members, strengths, strict=True):
        images.index_copy_(0, index, step.work(images.index_select(0, index), strength))
    return images


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without waiting for what the device is busy with, which copying from ordinary memory may
    do."""
    if device.type != "cuda":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def _steps(draws: Tensor) -> Iterator[_Step]:
    order, strength = draws[:, ORDER], draws[:, STRENGTH]
    active = strength != torch.tensor(IDLE)
    for place in range(len(JITTERS)):
        for number, jitter in enumerate(JITTERS):
            yield from _step(
                jitter, (order[:, place] == number) & active[:, number], strength[:, number]
            )
    yield from _step(
        lambda images, _: colour.greyscale(images).expand_as(images),
        draws[:, GREYSCALE] > 0,
        draws[:, GREYSCALE],
    )
    yield from _step(colour.gaussian_blur, draws[:, SIGMA] > 0, draws[:, SIGMA])
    yield from _step(
        lambda images, _: colour.solarise(images), draws[:, SOLARISE] > 0, draws[:, SOLARISE]
    )


def _step(
    work: Callable[[Tensor, Tensor], Tensor], chosen: Tensor, strength: Tensor
) -> Iterator[_Step]:
    members = chosen.nonzero().flatten()
    if len(members):
        yield _Step(work, members, strength[members])
