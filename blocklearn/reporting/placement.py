"""Which blocks go to which rank, and what comes of it: tables and JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blocklearn.blocks.costs import BlockCost
from blocklearn.errors import UserError
from blocklearn.reporting.tables import print_table

ASSUMED_RATE = 1e14  # floating-point operations of a device per second, where nothing was measured
MB = 2**20


@dataclass(frozen=True)
class Plan:
    """Blocks on ranks.

    Attributes:
        costs: of every block.
        groups: indices of the blocks of every rank.
        counted_groups: those that block_parallel takes by itself, which does not measure.
        loading: seconds in which the first rank makes a batch itself; 0 where others do.
        batch_bytes: of the views, which the first rank holds.
        replicas: how many times every rank is there, each with its part of every batch.
    """

    costs: Sequence[BlockCost]
    groups: Sequence[range]
    counted_groups: Sequence[range]
    loading: float
    batch_bytes: int
    replicas: int

    @property
    def measured(self) -> bool:
        return self.costs[0].seconds is not None

    @property
    def times(self) -> list[float]:
        """Of every rank in seconds, or in products where nothing was measured."""
        return self._times(self.groups)

    @property
    def speed_up(self) -> float:
        """Steps per second of all ranks over those of one process that has every block."""
        return self._speed_up(self.groups)

    @property
    def counted_speed_up(self) -> float:
        """The same of the grouping that block_parallel takes by itself."""
        return self._speed_up(self.counted_groups)

    @property
    def rank_bytes(self) -> list[int]:
        """Of every rank: weights and optimizer states of all its blocks, and the largest step of
        one."""
        held = []
        for group in self.groups:
            own = [self.costs[index] for index in group]
            kept = sum(cost.weight_bytes + cost.optimizer_bytes for cost in own)
            views = 0 if group.start else self.batch_bytes
            held.append(kept + views + max(cost.activation_bytes for cost in own))
        return held

    @property
    def borders(self) -> dict[int, float]:
        """Bytes a step that leave the last block of every rank but the last, by its index."""
        return {group[-1]: self.costs[group[-1]].sent_bytes for group in self.groups[:-1]}

    def bandwidth(self, sent: float) -> float:
        """Gb/s that hide so many bytes a step behind the slowest rank."""
        seconds = max(self.times) / (1 if self.measured else ASSUMED_RATE)
        return sent * 8 / 1e9 / seconds

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "measured": self.measured,
            "data_parallel": self.replicas,
            "blocks": [asdict(cost) for cost in self.costs],
            "ranks": [
                {"blocks": [self.costs[index].name for index in group], "bytes": held, unit: cost}
                for group, held, cost in zip(self.groups, self.rank_bytes, self.times, strict=True)
                for unit in ["seconds" if self.measured else "flops"]
            ],
            "loading_seconds": self.loading,
            "speed_up": self.speed_up,
            "borders": [
                {"after": self.costs[index].name, "bytes": sent, "gbit_per_s": self.bandwidth(sent)}
                for index, sent in self.borders.items()
            ],
        }

    def _times(self, groups: Sequence[range]) -> list[float]:
        times = [time_of(cost) for cost in self.costs]
        sums = [sum(times[index] for index in group) for group in groups]
        return [sums[0] + self.loading, *sums[1:]]

    def _speed_up(self, groups: Sequence[range]) -> float:
        times = self._times(groups)
        return self.replicas * sum(times) / max(times)


def time_of(cost: BlockCost) -> float:
    """In seconds, or in products where it was not measured."""
    return float(cost.flops) if cost.seconds is None else cost.seconds


def print_plan(plan: Plan) -> None:
    """Two tables, and what follows from them."""
    ms = ("ms",) if plan.measured else ()
    header = ("block", "stages", "GFLOP", *ms, "MB sent", "MB weights", "MB optimizer", "MB step")
    rows = [
        (
            cost.name,
            cost.stages,
            f"{cost.flops / 1e9:,.1f}",
            *([f"{1e3 * cost.seconds:,.1f}"] if cost.seconds is not None else []),
            "-" if cost is plan.costs[-1] else f"{cost.sent_bytes / MB:,.1f}",
            *(
                f"{size / MB:,.1f}"
                for size in (cost.weight_bytes, cost.optimizer_bytes, cost.activation_bytes)
            ),
        )
        for cost in plan.costs
    ]
    print_table("Of one step", header, rows)
    total, slowest = sum(plan.times), max(plan.times)
    rows = [
        (
            f"{rank}",
            _names(plan.costs, group),
            f"{100 * spent / total:.1f} %",
            f"{100 * spent / slowest:.1f} %",
            f"{held / MB:,.1f}",
        )
        for rank, (group, spent, held) in enumerate(
            zip(plan.groups, plan.times, plan.rank_bytes, strict=True)
        )
    ]
    what = "time" if plan.measured else "products"
    header = ("rank", "blocks", f"of the {what}", "busy", "MB held")
    print_table(f"{len(plan.groups)} ranks", header, rows)
    for line in _told(plan):
        print(line)


def write_plan(plan: Plan, path: Path) -> None:
    """As JSON.

    Raises:
        UserError: where it cannot be written.
    """
    try:
        path.write_text(json.dumps(plan.as_plain(), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"--out: {error}") from error
    print(f"Written: {path}")


def _told(plan: Plan) -> Iterator[str]:
    devices = len(plan.groups) * plan.replicas
    if plan.loading:
        yield (
            f"Rank 0 also makes every batch itself, in {1e3 * plan.loading:,.1f} ms "
            "(--data.num_workers 0)."
        )
    if not plan.measured:
        yield (
            "Counted, not measured: products stand for time, though norms and copies take time "
            "too; --measure true runs the blocks."
        )
    yield (
        f"Predicted: block-parallel on {devices} devices makes {plan.speed_up:.2f} times the steps "
        f"of one process, where the network keeps up; data parallel on {devices} at best "
        f"{devices}.00."
    )
    if plan.measured and list(plan.groups) != list(plan.counted_groups):
        groups = " | ".join(_names(plan.costs, group) for group in plan.counted_groups)
        yield (
            f"block_parallel groups by counted products, {groups}: by these times "
            f"{plan.counted_speed_up:.2f} times the steps of one process."
        )
    assumed = "" if plan.measured else f" where a device makes {ASSUMED_RATE / 1e12:.0f} TFLOP/s"
    for index, sent in plan.borders.items():
        yield (
            f"From {plan.costs[index].name} to {plan.costs[index + 1].name}: {sent / MB:,.1f} MB a "
            f"step, hidden by {plan.bandwidth(sent):.2f} Gb/s{assumed}."
        )
    if len(plan.groups) > 1:
        yield (
            "Run it: blocklearn fit with the same arguments and --trainer.strategy block_parallel "
            f"--trainer.devices {devices}"
        )


def _names(costs: Sequence[BlockCost], group: range) -> str:
    first, last = costs[group[0]].name, costs[group[-1]].name
    return first if first == last else f"{first} to {last}"
