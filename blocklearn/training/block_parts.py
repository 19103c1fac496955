"""Blocks that lie in several processes: which lie where, and what each knows of a checkpoint."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from blocklearn.distributed.grouping import best_grouping
from blocklearn.errors import UserError
from blocklearn.training.contract import LocalBlock
from blocklearn.training.finite import COUNTS
from blocklearn.training.schedule import Schedule, SequentialSchedule
from blocklearn.training.unfinished import UNFINISHED


class BlockParts(NamedTuple):
    """What a strategy asks a network whose blocks lie in several processes.

    Attributes:
        blocks: all of them.
        schedule: which learn when.
        costs: of a step of each, in any unit.
    """

    blocks: Sequence[LocalBlock]
    schedule: Schedule
    costs: Callable[[], Sequence[float]]

    def grouping(self, ranks: int, per_rank: Sequence[int] | None = None) -> list[range]:
        """The blocks of each of so many ranks, in order: those that are asked for, or those with
        which the slowest rank is fastest.

        Raises:
            UserError: where so many cannot train these blocks at the same time.
        """
        require_parallel(self.blocks, self.schedule, ranks)
        if per_rank is not None:
            return given_grouping(self.blocks, ranks, per_rank)
        together = shares_with_the_one_before(self.blocks)
        return best_grouping(self.costs(), ranks, together)

    def take(self, checkpoint: Mapping[str, Any], own: range) -> dict[str, Any]:
        """What only the process of the blocks `own` knows of a checkpoint."""
        names = {self.blocks[index].name for index in own}
        states = checkpoint.get("optimizer_states") or []
        return {
            "names": sorted(names),
            "state_dict": {
                name: value
                for name, value in checkpoint["state_dict"].items()
                if isinstance(value, Tensor) and not value.is_meta
            },
            "optimizer_states": {index: states[index] for index in own if states},
            UNFINISHED: [_of(names, waiting) for waiting in checkpoint.get(UNFINISHED, ())],
            COUNTS: _of(names, checkpoint.get(COUNTS, {})),
        }

    def put(self, checkpoint: MutableMapping[str, Any], part: Mapping[str, Any]) -> None:
        """Put what `take` took in another process into this one's checkpoint."""
        checkpoint["state_dict"].update(part["state_dict"])
        for index, state in part["optimizer_states"].items():
            checkpoint["optimizer_states"][index] = state
        names = set(part["names"])
        waiting = list(checkpoint.get(UNFINISHED, ()))
        for rank, theirs in enumerate(part[UNFINISHED]):
            if rank == len(waiting):
                waiting.append({kind: {} for kind in theirs})
            _take(waiting[rank], theirs, names)
        if UNFINISHED in checkpoint:
            checkpoint[UNFINISHED] = waiting
        if COUNTS in checkpoint:
            _take(checkpoint[COUNTS], part[COUNTS], names)


def is_here(block: LocalBlock) -> bool:
    """Whether this process has the block's parameters."""
    return not any(parameter.is_meta for parameter in block.parameters())


def require_parallel(blocks: Sequence[LocalBlock], schedule: Schedule, ranks: int) -> None:
    """Raises:
    UserError: where so many ranks cannot train these blocks at the same time.
    """
    if isinstance(schedule, SequentialSchedule):
        raise UserError(
            "model.schedule: under SequentialSchedule one block learns at a time, so that "
            "block_parallel would leave all ranks but one idle: leave --trainer.strategy away, or "
            "take SimultaneousSchedule"
        )
    for block in blocks:
        if getattr(block.objective, "reads_others", False):
            raise UserError(
                f"model.objective: the {type(block.objective).__name__} of {block.name} reads the "
                "weights of other blocks, which block_parallel puts into other processes: leave "
                "--trainer.strategy away"
            )
    if len(blocks) < ranks:
        raise UserError(
            f"trainer.strategy: block_parallel puts {len(blocks)} blocks on {ranks} ranks: take "
            f"--trainer.devices {max(len(blocks), 2)}, set --trainer.strategy.data_parallel, or "
            "cut finer, as with --model.blocks per_unit"
        )


def shares_with_the_one_before(blocks: Sequence[LocalBlock]) -> set[int]:
    """Indices of blocks that train a stage of the block before, and stay on its rank."""
    return {block.index for block in blocks if len(block.borrowed)}


def given_grouping(
    blocks: Sequence[LocalBlock], ranks: int, per_rank: Sequence[int]
) -> list[range]:
    """Consecutive blocks for every rank, by their numbers.

    Raises:
        UserError: where they are other blocks than there are, or two that share a stage are parted.
    """
    if len(per_rank) != ranks or min(per_rank) < 1 or sum(per_rank) != len(blocks):
        raise UserError(
            f"trainer.strategy.blocks_per_rank: {list(per_rank)} does not share {len(blocks)} "
            f"blocks among {ranks} ranks: give {ranks} positive numbers that add up to "
            f"{len(blocks)}"
        )
    ends = [sum(per_rank[: rank + 1]) for rank in range(ranks)]
    groups = [range(end - count, end) for end, count in zip(ends, per_rank, strict=True)]
    together = shares_with_the_one_before(blocks)
    for group in groups:
        if group.start in together:
            raise UserError(
                f"trainer.strategy.blocks_per_rank: block{group.start} and block{group.start + 1} "
                "share a stage, and must be on one rank"
            )
    return groups


def _of(names: set[str], by_block: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of every kind of entry, those of some blocks."""
    return {
        kind: {name: value for name, value in entries.items() if name in names}
        for kind, entries in by_block.items()
    }


def _take(
    mine: Mapping[str, Any], theirs: Mapping[str, Mapping[str, Any]], names: set[str]
) -> None:
    """Of some blocks, their entries in place of mine."""
    for kind, entries in theirs.items():
        for name in names:
            mine[kind].pop(name, None)
        mine[kind].update(entries)
