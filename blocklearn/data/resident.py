"""A small data set that lives on the device whole."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blocklearn.batch import Batch
from blocklearn.data.images.colour_work import to_device
from blocklearn.data.loader import KeyedSampler, LabelledSamples, Resumable
from blocklearn.data.stored_views import StoredViews
from blocklearn.data.unreadable import UnreadableSamples
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError
from blocklearn.seeding import keyed_generator


class ResidentImages(NamedTuple):
    """Attributes:
    pixels: `(N, 3, H, W)`, uint8, on the device.
    labels: `(N,)` integers, on the CPU.
    index: `(N,)` positions in the data set of what lies at 0 to N - 1, on the CPU: another where a
        sample could not be read. Null for all in their own place.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor | None = None


def load_resident(
    samples: LabelledSamples,
    device: torch.device,
    seed: int = 0,
    unreadable: UnreadableSamples | None = None,
) -> ResidentImages:
    """Read every sample once.

    Args:
        samples: the data set.
        device: where the images go.
        seed: of the samples that stand in for others, with epoch 0.
        unreadable: what becomes of samples that cannot be read; null for its defaults.

    Raises:
        UserError: where the images are not all of one size, or too many cannot be read.
    """
    unreadable = unreadable or UnreadableSamples(samples)

    def read(place: int) -> tuple[Any, Any, int]:
        return unreadable.read(lambda chosen: (*samples[chosen], chosen), seed, 0, place)

    image = read(0)[0]
    pixels = torch.empty(len(samples), image.height, image.width, 3, dtype=torch.uint8)
    labels, places = torch.empty(2, len(samples), dtype=torch.int64)
    for index in range(len(samples)):
        other, labels[index], places[index] = read(index)
        if other.size != image.size:
            raise UserError(
                f"data: images of {image.width} x {image.height} and of {other.width} x "
                f"{other.height} pixels cannot live on the device together; set --data.resident "
                "false"
            )
        pixels[index] = torch.from_numpy(np.array(other))
    return ResidentImages(pixels.permute(0, 3, 1, 2).contiguous().to(device), labels, places)


class ResidentLoader(Resumable):
    """Training views of images that live on the device: a batch is an index and its draws, made
    without loader processes.

    The draws of a sample depend on (seed, epoch, sample, view) alone: those of an epoch are drawn
    at once, on the CPU, from a stream keyed to (seed, epoch, view). They are distributed as those
    of a `ResumableLoader`, and are others.

    Args:
        images: on the device.
        recipe: its `draw_views` and `views_of` make the views.
        sampler: says which samples, over the images' pixels.
    """

    def __init__(self, images: ResidentImages, recipe: ViewRecipe, sampler: KeyedSampler) -> None:
        self.images, self.recipe = images, recipe
        self.dataset = images.pixels
        self.batch_size = sampler.batch_size // sampler.num_replicas
        self.sampler = self.keyed_sampler = sampler  # the Trainer tells `sampler` the epoch
        self.batch_sampler = None  # the Trainer asks whoever has a sampler
        self._makes_views = True

    def without_samples(self) -> "ResidentLoader":
        """As many batches of the same size, without views."""
        loader = ResidentLoader(self.images, self.recipe, self.sampler)
        loader._makes_views = False
        return loader

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.sampler.batch_size)
        return whole if self.sampler.shuffle else whole + (rest >= self.sampler.num_replicas)

    def __iter__(self) -> Iterator[Batch]:
        return self.counted(self._batches())

    def _batches(self) -> Iterator[Batch]:
        pixels, labels, places = self.images
        draws = None
        # A last batch that is too small for a sample a process is left out, so that all processes
        # count alike.
        for index in islice(self.sampler.batches(), len(self) - self.sampler.skip_batches):
            folder = self.sampler.stored_views
            views, stored = [], []
            if self._makes_views and folder is not None:
                kept = StoredViews(folder).views
                stored = [to_device(view[index], pixels.device) for view in kept]
            if self._makes_views and (folder is None or self.sampler.images_too):
                draws = draws or self._draw()
                chosen = pixels[to_device(index, pixels.device)]
                views = [self.recipe.views_of(chosen, drawn[index]) for drawn in draws]
            place = index if places is None else places[index]
            label, place = (_pinned(each, pixels.device) for each in (labels[index], place))
            yield Batch(views, label, place, stored)

    def _draw(self) -> list[Tensor]:
        count, _, height, width = self.dataset.shape
        return [
            self.recipe.draw_views(
                count,
                view,
                height,
                width,
                keyed_generator("cpu", self.sampler.seed, self.sampler.view_epoch, view),
            )
            for view in range(self.recipe.num_views)
        ]


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """In memory from which a GPU copies while the host goes on."""
    return tensor.pin_memory() if device.type == "cuda" else tensor
