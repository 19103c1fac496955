"""A part of the labels: the 1 % and 10 % protocols of semi-supervised evaluation."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blocklearn.data.loader import LabelledSamples
from blocklearn.errors import UserError
from blocklearn.seeding import fold_seed

HELD_OUT = 1  # folded into the seed, so that this draw is none of the others


class SamplesAt:
    """Some of the samples of a data set.

    Args:
        samples: the data set.
        positions: of the samples that are kept.
    """

    def __init__(self, samples: LabelledSamples, positions: Sequence[int]) -> None:
        self.samples = samples
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> tuple[Any, int | Tensor]:
        return self.samples[self.positions[index]]

    @cached_property
    def paths(self) -> list[Path] | None:
        """Of its own samples, where the data set has `paths`."""
        paths = getattr(self.samples, "paths", None)
        return None if paths is None else [paths[position] for position in self.positions]


def stratified_part(samples: LabelledSamples, part: float, seed: int) -> SamplesAt:
    """The same part of every class, at least one sample of each; which ones depends on `seed`
    alone.

    Args:
        samples: labelled, one label per sample.
        part: of every class, in (0, 1].
        seed: of the draw.

    Raises:
        UserError: for a part out of range.
    """
    if not 0 < part <= 1:
        raise UserError(f"probe: labelled_part must lie above 0 and be at most 1, got {part}")
    kept: list[int] = []
    for members in _drawn_by_class(read_labels(samples), seed):
        kept += members[: max(1, round(part * len(members)))]
    return SamplesAt(samples, sorted(kept))


def stratified_halves(labels: Tensor, held_out: float, seed: int) -> tuple[list[int], list[int]]:
    """Positions to learn from and positions to choose by, in order: of every class of two samples
    or more at least one in each, and a single sample is learned from. Which ones depends on `seed`
    alone.

    Args:
        labels: `(N,)`.
        held_out: part of every class that is chosen by, in (0, 1).
        seed: of the draw.
    """
    learned: list[int] = []
    held: list[int] = []
    for members in _drawn_by_class(labels, fold_seed(seed, HELD_OUT)):
        count = min(max(1, round(held_out * len(members))), len(members) - 1)
        held += members[:count]
        learned += members[count:]
    return sorted(learned), sorted(held)


def _drawn_by_class(labels: Tensor, seed: int) -> Iterator[list[int]]:
    """The positions of every class, in an order of its own."""
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(
            len(members), generator=torch.Generator().manual_seed(fold_seed(seed, label))
        )
        yield members[order].tolist()


def read_labels(samples: LabelledSamples) -> Tensor:
    """`(N,)` integers: the data set's own `labels` where it has them; otherwise every sample is
    read."""
    labels = getattr(samples, "labels", None)
    return torch.as_tensor(
        [samples[index][1] for index in range(len(samples))] if labels is None else labels
    )
