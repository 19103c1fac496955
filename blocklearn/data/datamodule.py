"""What every data module shares: loaders for pretraining, probing and testing."""

from abc import abstractmethod
from collections.abc import Callable, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, default_collate

from blocklearn.backbones.input_spec import InputSpec
from blocklearn.batch import Batch
from blocklearn.data.labelled_part import SamplesAt, stratified_part
from blocklearn.data.loader import (
    FinishedViews,
    KeyedSampler,
    KeyedViews,
    LabelledSamples,
    ResumableLoader,
)
from blocklearn.data.remembered import RememberedData
from blocklearn.data.unreadable import UnreadableSamples, replaced_samples
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.distributed.groups import data_rank, world_size
from blocklearn.errors import UserError
from blocklearn.machine import available_cores


class KeyedDataModule(RememberedData):
    """Samples of any kind, augmented by a recipe, every draw keyed to (seed, epoch, sample, view).
    Subclass it, set the class attributes, and write the data sets; each yields (sample, label).

    Pretraining samples and probe samples are separate data sets, which may coincide.

    Attributes:
        title: name of the data set, for tables and results.
        num_classes: of the probes' labels.
        target: which of several labellings is in use; null where there is only one.
        frame_labels: a label is a `(T,)` tensor, one integer a frame (of 10 ms in speech). Probing
            and testing then take samples one at a time (a process) and in their whole length, and
            pretraining gets -1 for a label.
        predict_split: what `predict_dataloader` gives: `all`, or a name of `splits`.
        predicted: the samples of its loader, by split, in order.

    Args:
        recipe: makes the views.
        root: folder of the data.
        batch_size: samples of a batch, over all processes.
        num_workers: loader processes; null for one a core, at most 8.
        seed: of order and augmentation; null for the run's (`--seed_everything`).
        fixed_views: draw the augmentation of a training sample once, so that every epoch sees the
            same views; what cached features of frozen blocks need.
        max_corrupt: how many samples of a data set may be unreadable; null for 0.1 % of them, at
            least 1. Another sample stands in for each; they are listed in `unreadable_samples.csv`
            in the run's folder. 0 stops at the first.

    Raises:
        UserError: for values out of range.
    """

    title: str
    num_classes: int
    target: str | None = None
    frame_labels: bool = False
    predict_split: str = "all"
    predicted: dict[str, LabelledSamples]

    def __init__(
        self,
        recipe: ViewRecipe,
        root: str | Path = "data",
        batch_size: int = 256,
        num_workers: int | None = None,
        seed: int | None = None,
        fixed_views: bool = False,
        max_corrupt: int | None = None,
    ) -> None:
        super().__init__()
        if max_corrupt is not None and max_corrupt < 0:
            raise UserError(f"data: max_corrupt must be at least 0, got {max_corrupt}")
        if batch_size < 1 or (num_workers or 0) < 0:
            raise UserError(
                f"data: batch_size must be at least 1 and num_workers at least 0, got {batch_size} "
                f"and {num_workers}"
            )
        self.root = Path(root)
        self.batch_size = batch_size
        self.num_workers = min(available_cores(), 8) if num_workers is None else num_workers
        self.recipe = recipe
        self._seed = seed
        self.fixed_views = fixed_views
        self.max_corrupt = max_corrupt
        self._list_folder: Path | None = None
        self._counts: list[UnreadableSamples] = []
        self._enough: LabelledSamples | None = None

    @property
    def input_spec(self) -> InputSpec | None:
        """What a network gets to see; None where it is not known, and nothing is compared."""
        return None

    @property
    def channels(self) -> int:
        """Of a view."""
        return self.recipe.channels

    @abstractmethod
    def pretraining_samples(self) -> LabelledSamples:
        """For the local objectives. Supervised ones learn from the labels; the others do not
        look at them."""

    def probe_samples(self) -> LabelledSamples:
        """Labelled, for training probes: the pretraining samples, unless a set has others."""
        return self.pretraining_samples()

    @abstractmethod
    def test_samples(self) -> LabelledSamples:
        """Labelled, for testing probes, and for watching the local losses in validation."""

    @property
    def roots(self) -> list[Path]:
        """The folders of the data; paths in results are told relative to them."""
        return [self.root]

    def splits(self, chosen: str = "all") -> dict[str, LabelledSamples]:
        """The samples by split, each sample in one of them: `train`, `test`, and where pretraining
        has samples of its own `probe`.

        Args:
            chosen: `all`, or the name of one.

        Raises:
            UserError: for a split that this data has not.
        """
        splits = self._splits()
        if chosen != "all" and chosen not in splits:
            raise UserError(
                f"data: {self.title} has no split {chosen}; it has {', '.join(splits)}, or all"
            )
        return {name: samples for name, samples in splits.items() if chosen in ("all", name)}

    def _splits(self) -> dict[str, LabelledSamples]:
        return {"train": self.pretraining_samples(), "test": self.test_samples()}

    def setup(self, stage: str | None = None) -> None:
        if self._seed is None:
            self._seed = torch.initial_seed()

    def require_enough(self) -> None:
        """To be asked early, after `setup`; `train_dataloader` asks too.

        Raises:
            UserError: where there are fewer samples for training than one batch takes.
        """
        samples = self.pretraining_samples()
        if len(samples) < self.batch_size:
            raise UserError(
                f"data: {self.title} has {len(samples)} samples for training, fewer than one batch "
                f"of {self.batch_size}; lower --data.batch_size"
            )
        self._enough = samples  # for the next training loader: large sets are not read twice

    def few_samples(self, count: int = 8) -> Batch:
        """The first training samples in one batch, with their views of epoch 0, for looking at."""
        dataset = self._training_dataset()
        batch: Batch = default_collate(
            [dataset[index] for index in range(min(count, len(dataset)))]
        )
        device = torch.device("cpu")
        return batch._replace(
            views=[
                view if isinstance(view, Tensor) else self.recipe.finish(view, device)
                for view in batch.views
            ]
        )

    def as_seen(self, views: Tensor) -> np.ndarray:
        """Views to look at: the curve of a sound, `(B, L)`, or what an image says."""
        return views.float().cpu().flatten(1).numpy()

    def list_unreadable_in(self, folder: Path) -> None:
        """Name the folder for the list of unreadable samples; else it is the trainer's."""
        self._list_folder = folder

    def unreadable_told(self) -> str | None:
        """A line on the samples that were replaced, in all parts of a run, of the data sets that
        this process has made loaders of; null where there was none."""
        return replaced_samples(self._counts)

    def train_dataloader(self) -> ResumableLoader:
        if self._enough is None:
            self.require_enough()
        samples, self._enough = self._enough, None
        assert samples is not None
        return self._training_loader(samples, shuffle=True, fixed_views=self.fixed_views)

    def every_training_view(self) -> DataLoader[Batch]:
        """All training samples in order, with the views that `fixed_views` gives them."""
        return FinishedViews(
            self._training_dataset(),
            self.recipe,
            self._device(),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> ResumableLoader:
        return self._training_loader(self.test_samples(), shuffle=False)

    def labelled_samples(self, labelled_part: float = 1.0) -> LabelledSamples:
        """`probe_samples`, or of a part below 1 those that `stratified_part` draws with the run's
        seed.

        Raises:
            UserError: for a `labelled_part` below 1 of frame labels.
        """
        samples = self.probe_samples()
        if labelled_part == 1:
            return samples
        if self.frame_labels:
            raise UserError(
                f"probe: labelled_part {labelled_part} needs one label per sample, {self.title} "
                "has one per frame here; leave it at 1 or choose another --data.target"
            )
        return stratified_part(samples, labelled_part, self.keying_seed())

    def probe_dataloader(
        self,
        batch_size: int,
        augment: bool = True,
        labelled_part: float = 1.0,
        positions: Sequence[int] | None = None,
    ) -> ResumableLoader:
        """`labelled_samples` for training a probe, or those at some positions, in one view:
        augmented and shuffled, or as they are and in order. With `frame_labels` the view is the
        whole sample, whatever `augment` says, and `batch_size` is not used."""
        samples = self.labelled_samples(labelled_part)
        if positions is not None:
            samples = SamplesAt(samples, positions)
        view = self.recipe.probe_view if augment else self._test_view()
        if self.frame_labels:
            view, batch_size = self._test_view(), self._world_size()
        return self._loader(samples, [view], augment, min(batch_size, len(samples)))

    def test_dataloader(self) -> ResumableLoader:
        batch_size = self._world_size() if self.frame_labels else self.batch_size
        return self._loader(self.test_samples(), [self._test_view()], False, batch_size)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The samples of `predict_split`, as they are and in order. A plain loader, since Lightning
        builds its own from it to keep count of the samples."""
        self.predicted = self.splits(self.predict_split)
        dataset = ConcatDataset(
            [self._dataset(samples, [self._test_view()]) for samples in self.predicted.values()]
        )
        return DataLoader(
            dataset,
            batch_size=1 if self.frame_labels else self.batch_size,
            num_workers=self.num_workers,
        )

    def _view_label(self) -> Callable[[Any, Any], Tensor] | None:
        return self.recipe.view_label if self.frame_labels else None

    def _test_view(self) -> Callable[[Any], Tensor]:
        return self.recipe.whole_view if self.frame_labels else self.recipe.plain_view

    def keying_seed(self) -> int:
        return torch.initial_seed() if self._seed is None else self._seed

    def _world_size(self) -> int:
        return world_size() if self.trainer else 1

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _training_views(self) -> list[Callable[[Any], Tensor]]:
        return [
            partial(self.recipe.training_view, view=view) for view in range(self.recipe.num_views)
        ]

    def _training_dataset(self) -> KeyedViews:
        samples = self.pretraining_samples()
        return self._dataset(samples, self._training_views(), self._view_label())

    def _dataset(
        self,
        samples: LabelledSamples,
        transforms: Sequence[Callable[[Any], Tensor]],
        view_label: Callable[[Any, Any], Tensor] | None = None,
    ) -> KeyedViews:
        return KeyedViews(
            samples, transforms, self.keying_seed(), view_label, self._unreadable(samples)
        )

    def _unreadable(self, samples: LabelledSamples) -> UnreadableSamples:
        """One count for all loaders of a data set."""
        new = UnreadableSamples(samples, self.max_corrupt, self.folder_of_list())
        for known in self._counts:
            if known.counts_like(new):
                return known
        self._counts.append(new)
        return new

    def folder_of_list(self) -> Path | None:
        if self._list_folder or not self.trainer or "://" in self.trainer.default_root_dir:
            return self._list_folder
        return Path(self.trainer.default_root_dir)

    def _training_loader(
        self, samples: LabelledSamples, shuffle: bool, fixed_views: bool = False
    ) -> ResumableLoader:
        return self._loader(
            samples, self._training_views(), shuffle, None, fixed_views, self._view_label()
        )

    def _loader(
        self,
        samples: LabelledSamples,
        transforms: Sequence[Callable[[Any], Tensor]],
        shuffle: bool,
        batch_size: int | None = None,
        fixed_views: bool = False,
        view_label: Callable[[Any, Any], Tensor] | None = None,
    ) -> ResumableLoader:
        dataset = self._dataset(samples, transforms, view_label)
        sampler = self._sampler(dataset, batch_size or self.batch_size, shuffle, fixed_views)
        return ResumableLoader(dataset, sampler, self.recipe, self._device(), self.num_workers)

    def _sampler(
        self, samples: Sized, batch_size: int, shuffle: bool, fixed_views: bool
    ) -> KeyedSampler:
        """For this process' part of every batch.

        Raises:
            UserError: where the batch does not divide among the processes.
        """
        processes = self._world_size()
        rank = data_rank() if self.trainer else 0
        if batch_size % processes:
            raise UserError(
                f"data: batch_size {batch_size} does not divide among {processes} processes"
            )
        return KeyedSampler(
            samples, batch_size, shuffle, self.keying_seed(), processes, rank, fixed_views
        )
