"""Which block learns when."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate, pairwise

from blocklearn.errors import UserError
from blocklearn.training.contract import LocalBlock


class Schedule(ABC):
    """Subclass it and write `window`. A block that is not learning is frozen: it runs forward in
    eval mode, without a graph, and only where a block behind it learns."""

    @abstractmethod
    def window(self, block: int, num_blocks: int, steps_per_epoch: int, total_steps: int) -> range:
        """The batches, counted from 0, from which a block learns. Its learning-rate curve runs from
        the first of them to the last.

        Args:
            block: position of the block, from 0.
            num_blocks: how many there are.
            steps_per_epoch: batches in an epoch.
            total_steps: batches in the whole run.
        """


class SimultaneousSchedule(Schedule):
    """Every block learns from every batch: the published schedule of arXiv 2302.01647 and
    1905.11786."""

    def window(self, block: int, num_blocks: int, steps_per_epoch: int, total_steps: int) -> range:
        return range(total_steps)


class SequentialSchedule(Schedule):
    """One block after the other: block k learns to its end, is frozen in eval mode, and block k+1
    begins; each with a warm-up and a decay of its own. The blocks behind the one that learns are
    not run. Borders fall between epochs where the run has at least one epoch a block.

    Args:
        shares: how long each block learns, relative to the others; null for equal parts.

    Raises:
        ValueError: for a share that is not positive and finite.
        UserError: when training starts, for another number of shares than blocks.
    """

    def __init__(self, shares: Sequence[float] | None = None) -> None:
        if shares is not None and not (shares and all(0 < share < math.inf for share in shares)):
            raise ValueError(f"SequentialSchedule needs positive shares, all finite, got {shares}")
        self.shares = shares

    def window(self, block: int, num_blocks: int, steps_per_epoch: int, total_steps: int) -> range:
        shares = self.shares or [1.0] * num_blocks
        if len(shares) != num_blocks:
            raise UserError(
                f"schedule: SequentialSchedule has {len(shares)} shares for {num_blocks} blocks; "
                "give one per block"
            )
        unit = steps_per_epoch if total_steps >= num_blocks * steps_per_epoch else 1
        borders = [0.0, *accumulate(shares)]
        ends = [
            min(round(total_steps / unit * end / borders[-1]) * unit, total_steps)
            for end in borders
        ]
        ends[-1] = total_steps
        return range(ends[block], ends[block + 1])


Simultaneous, Sequential = SimultaneousSchedule, SequentialSchedule  # their names before 0.2


def require_shared_batches(blocks: Sequence[LocalBlock], windows: Sequence[range]) -> None:
    """Blocks that share a stage must learn from the same batches.

    Args:
        blocks: in order.
        windows: the batches from which each learns.

    Raises:
        UserError: naming the first two that do not.
    """
    for (before, first), (block, second) in pairwise(zip(blocks, windows, strict=True)):
        if block.borrowed and first != second:
            raise UserError(
                f"{before.name} and {block.name} share {block.borrowed[-1].spec.name}, so they "
                "must learn from the same batches: take the schedule SimultaneousSchedule and the "
                "same stop_epoch"
            )
