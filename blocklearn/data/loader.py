"""Samples keyed by (seed, epoch, index, view), and a loader that resumes where it stopped."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from blocklearn.batch import Batch
from blocklearn.data.stored_views import StoredViews
from blocklearn.data.unreadable import UnreadableSamples
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError
from blocklearn.seeding import fold_seed, keyed_randomness


class LabelledSamples(Protocol):
    """A map-style data set of (sample, label). A sample is what the recipe takes: an RGB PIL image,
    a `Recording` or a `Video`. A label is an integer, -1 where there is none, or `(T,)` integers,
    one a frame.

    For a sample that cannot be read it raises `UnreadableSample`. It may have `labels` and `paths`,
    one per sample."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, int | Tensor]: ...


class ViewKey(NamedTuple):
    """What a sampler asks for: the views of sample `index` in `epoch`, or, from a file, features
    that stand for them, with the views beside them where `images_too`. The key carries the file, so
    that loader processes that live on from epoch to epoch follow the sampler."""

    epoch: int
    index: int
    stored: Path | None = None
    images_too: bool = False


class KeyedViews(Dataset[Batch]):
    """Views of samples. An item is asked for by a `ViewKey`, or by its index for epoch 0, and its
    augmentation depends on nothing else but the seed and the view's number: not on workers,
    processes or what was drawn before.

    Args:
        samples: the data set.
        transforms: one per view, sample to tensor, or to what the recipe's `finish` takes; they may
            draw from torch's global stream.
        seed: of the run.
        view_label: the label of the first view from sample and label, drawn as that view is; null
            for the sample's own.
        unreadable: what becomes of samples that cannot be read; null for its defaults. Another
            sample stands in, with its own label and index, augmented by the draws of the place that
            it fills: those it has in its own place differ, so no view is in a batch twice.
    """

    def __init__(
        self,
        samples: LabelledSamples,
        transforms: Sequence[Callable[[Any], Tensor]],
        seed: int,
        view_label: Callable[[Any, Any], Tensor] | None = None,
        unreadable: UnreadableSamples | None = None,
    ) -> None:
        self.samples = samples
        self.transforms = transforms
        self.seed = seed
        self.view_label = view_label
        self.unreadable = unreadable or UnreadableSamples(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: "ViewKey | int") -> Batch:
        key = key if isinstance(key, ViewKey) else ViewKey(0, key)
        epoch, index, stored, images_too = key
        features = StoredViews(stored)[index] if stored is not None else None
        if features and not images_too:
            return features
        read = partial(self._views, epoch, index)
        batch = self.unreadable.read(read, self.seed, epoch, index)
        return batch._replace(stored=features.stored) if features else batch

    def _views(self, epoch: int, place: int, index: int) -> Batch:
        """Of sample `index`, drawn for a place in the data set: its own, or that of one that cannot
        be read."""
        sample, label = self.samples[index]
        views = []
        for view, transform in enumerate(self.transforms):
            with keyed_randomness(self.seed, epoch, place, view):
                views.append(transform(sample))
        if self.view_label is not None:
            with keyed_randomness(self.seed, epoch, place, 0):
                label = self.view_label(sample, label)
        return Batch(views, torch.as_tensor(label), torch.tensor(index))


class IndicesOnly(Dataset[Batch]):
    """Batches without views or labels, for a process that is sent what becomes of them.

    Args:
        samples: the data set.
    """

    def __init__(self, samples: Sized) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: ViewKey | int) -> Batch:
        index = key.index if isinstance(key, ViewKey) else key
        return Batch([], torch.tensor(-1), torch.tensor(index))


class KeyedSampler(DistributedSampler[Any]):
    """Yields a `ViewKey` a sample in an order that depends on (seed, epoch) alone. With several
    processes each takes its slice of every global batch, so the union of a step's batches is the
    same for any number of processes.

    Args:
        dataset: what is sampled.
        batch_size: over all processes; a multiple of `num_replicas`.
        shuffle: a new order each epoch, whole batches only; otherwise the data set's order, all
            samples.
        seed: of the run.
        num_replicas: number of processes.
        rank: of this process.
        fixed_views: ask for the views of epoch 0 in every epoch.
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        shuffle: bool,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
        fixed_views: bool = False,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed, drop_last=shuffle)  # pyright: ignore
        self.batch_size = batch_size
        self.resumed: tuple[int, int] | None = None  # epoch, and how many batches of it are done
        self.fixed_views = fixed_views
        self.stored_views: Path | None = None
        self.images_too = False  # beside stored views

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            for index in batch.tolist():
                yield ViewKey(self.view_epoch, index, self.stored_views, self.images_too)

    @property
    def view_epoch(self) -> int:
        """Whose views are asked for."""
        return 0 if self.fixed_views else self.epoch

    @property
    def skip_batches(self) -> int:
        """Batches of this epoch that are done already: only the epoch that is resumed is cut
        short."""
        return self.resumed[1] if self.resumed and self.resumed[0] == self.epoch else 0

    def batches(self) -> Iterator[Tensor]:
        """Indices of this process' part of one global batch after the other."""
        skip, self.resumed = self.skip_batches, None
        count = len(self.dataset)  # pyright: ignore[reportArgumentType]
        order = torch.arange(count)
        if self.shuffle:
            generator = torch.Generator().manual_seed(fold_seed(self.seed, self.epoch))
            order = torch.randperm(count, generator=generator)[: count - count % self.batch_size]
        for start in range(skip * self.batch_size, len(order), self.batch_size):
            yield order[start : start + self.batch_size].tensor_split(self.num_replicas)[self.rank]

    def __len__(self) -> int:
        count = len(self.dataset)  # pyright: ignore[reportArgumentType]
        whole = count - count % self.batch_size if self.shuffle else count
        return whole // self.num_replicas


class FinishedViews(DataLoader[Batch]):
    """A DataLoader whose batches hold finished views, whoever iterates over it: what the recipe
    leaves to the device is done here, in the process of the network.

    Args:
        dataset: the samples.
        recipe: its `finish` is asked for what is left to do.
        device: for the views with work left; others stay on the CPU.
        arguments: those of `DataLoader`.
    """

    def __init__(
        self,
        dataset: KeyedViews | IndicesOnly,
        recipe: ViewRecipe,
        device: torch.device,
        **arguments: Any,
    ) -> None:
        super().__init__(dataset, pin_memory=torch.cuda.is_available(), **arguments)
        self.recipe, self.device = recipe, device

    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            yield batch._replace(
                views=[
                    v if isinstance(v, Tensor) else self.recipe.finish(v, self.device)
                    for v in batch.views
                ]
            )


class Resumable:
    """Remembers how far a loader came: a checkpoint taken in mid-epoch goes on with the next
    batch."""

    keyed_sampler: KeyedSampler
    _batches_done: int = 0

    @abstractmethod
    def __len__(self) -> int: ...

    def counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        # A generator, so that nothing is prefetched before the Trainer has told the sampler its
        # epoch.
        self._batches_done = self.keyed_sampler.skip_batches
        for batch in batches:
            self._batches_done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {
            "epoch": self.keyed_sampler.epoch,
            "batches_done": self._batches_done,
            **self._order(),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Raises:
        UserError: where samples or batches are others than those that were counted, so that the
            order is another.
        """
        now, then = self._order(), {**self._order(), **state}  # older states do not say
        if now["samples"] != then["samples"]:
            raise UserError(
                f"resume: data has {now['samples']} samples, the checkpoint's run had "
                f"{then['samples']}; go on with the same data, or begin a new run"
            )
        if now["batch_size"] != then["batch_size"]:
            raise UserError(
                f"resume: data has a batch_size of {now['batch_size']}, the checkpoint's run had "
                f"{then['batch_size']}; set --data.batch_size {then['batch_size']}, or begin a new "
                "run"
            )
        done = state["batches_done"]
        self.keyed_sampler.resumed = (state["epoch"], done) if done < len(self) else None

    def _order(self) -> dict[str, int]:
        """What the order of the samples follows from, besides the seed; batches are those of all
        processes."""
        return {
            "samples": len(self.keyed_sampler.dataset),  # pyright: ignore[reportArgumentType]
            "batch_size": self.keyed_sampler.batch_size,
        }  # pyright: ignore


class ResumableLoader(FinishedViews, Resumable):
    """A loader of finished views that goes on where a checkpoint was taken.

    Its length is that of a whole epoch, also while it finishes a part of one, as the Trainer
    counts.
    """

    def __init__(
        self,
        dataset: KeyedViews | IndicesOnly,
        sampler: KeyedSampler,
        recipe: ViewRecipe,
        device: torch.device,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            dataset,
            recipe,
            device,
            batch_size=sampler.batch_size // sampler.num_replicas,
            sampler=sampler,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            drop_last=sampler.shuffle,
        )
        self.keyed_sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        return self.counted(super().__iter__())

    def without_samples(self) -> "ResumableLoader":
        """As many batches of the same size, of which nothing is read."""
        samples = IndicesOnly(self.dataset)  # pyright: ignore[reportArgumentType]
        return ResumableLoader(samples, self.keyed_sampler, self.recipe, self.device)
