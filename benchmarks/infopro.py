"""InfoPro: what a step costs by number of blocks, cut in equal units and by equal memory.

`python -m benchmarks.infopro`. Baseline: the same ResNet-110 in one block with a classifier. Memory
and products are counted on tensors without numbers, for the published batch of 1024 images of 32
pixels, so they are exact and the same on every machine; times are of a small batch on this one.
Targets are the published ratios of the memory-balanced cut (arXiv 2101.10832, InfoPro*): memory
0.57, 0.45 and 0.37 at 1, 8 and 13 % more time, on a GPU. `published` is cut where the released code
cuts; parts whose weight is 0 are left out, which that code computes.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from benchmarks.rows import Row, run_rows
from blocklearn import Batch, BlockwiseModule, InfoPro
from blocklearn.blocks.costs import count_costs
from blocklearn.blocks.imagined import imagined_weights
from blocklearn.training.contract import Carried, Clock

BASELINE = "end to end"
BACKBONE = "cifar_resnet110"
Weights = tuple[float, float]


@dataclass(frozen=True)
class Way:
    """One way of training.

    Attributes:
        blocks: as for `BlockwiseModule`.
        image_weights: published for it, as far as there are any.
        label_weights: likewise.
        memory: published ratio; none where there is none.
        time: likewise.
    """

    blocks: Any
    image_weights: Weights = (1.0, 0.0)
    label_weights: Weights = (0.0, 1.0)
    memory: float | None = None
    time: float | None = None


PUBLISHED_CUTS = {
    2: [["layer1.14"], ["layer1", "layer2", "layer3"]],
    3: [["layer1.9"], ["layer1", "layer2.2"], ["layer2", "layer3"]],
    4: [["layer1.6"], ["layer1.14"], ["layer1", "layer2.8"], ["layer2", "layer3"]],
}
EQUAL = {2: ((5.0, 0.0), (0.5, 0.0)), 3: ((1.0, 0.0), (0.0, 1.0)), 4: ((1.0, 0.0), (0.0, 1.0))}
BALANCED = {2: ((5.0, 0.0), (0.1, 0.0)), 3: ((5.0, 5.0), (0.0, 0.1)), 4: ((5.0, 5.0), (0.0, 0.1))}
MEMORY, TIME = {2: 0.57, 3: 0.45, 4: 0.37}, {2: 1.01, 3: 1.08, 4: 1.13}
WAYS = {BASELINE: Way("end_to_end")}
for count in (2, 3, 4):
    aims = (MEMORY[count], TIME[count])
    WAYS |= {
        f"K = {count}, equal": Way(count, *EQUAL[count]),
        f"K = {count}, balanced": Way(f"balanced:{count}", *BALANCED[count], *aims),
        f"K = {count}, published": Way(PUBLISHED_CUTS[count], *BALANCED[count], *aims),
    }


def build(way: Way) -> BlockwiseModule:
    objective = partial(
        InfoPro,
        num_classes=10,
        image_weights=way.image_weights,
        label_weights=way.label_weights,
        mean=[0.5] * 3,
        std=[0.25] * 3,
    )
    sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True)
    return BlockwiseModule(objective, BACKBONE, way.blocks, optimizer=sgd)


def random_batch(samples: int) -> Batch:
    """Pixels anywhere in [0, 1]."""
    view = 4 * torch.rand(samples, 3, 32, 32) - 2
    return Batch([view], torch.randint(10, (samples,)), torch.arange(samples))


@cache
def counted(way: str, samples: int) -> dict[str, Any]:
    """Of one step: the most megabytes that tensors hold above weights, optimizer state and the
    batch, those of every block, and gigaflops. Exact."""
    with imagined_weights():
        network = build(WAYS[way])
    costs = count_costs(network, random_batch(2), samples)
    by_block = [cost.activation_bytes / 2**20 for cost in costs]
    return {
        "MB": max(by_block),
        "GFLOP": sum(cost.flops for cost in costs) / 1e9,
        "MB by block": [round(size) for size in by_block],
        "blocks": network.structure.blocks,
    }


class Step:
    """A step of the walk, block by block, without a trainer."""

    def __init__(self, way: str, samples: int) -> None:
        torch.manual_seed(0)
        self.network, self.batch = build(WAYS[way]).train(), random_batch(samples)
        rule = self.network.rule
        self.optimizers = [
            rule.build_optimizer(block.parameters(), None) for block in self.network.walked
        ]

    def __call__(self) -> None:
        carried = Carried(self.batch.views)
        for block, optimizer in zip(self.network.walked, self.optimizers, strict=True):
            output = block.local_step(carried, self.batch, Clock())
            output.loss.backward()
            self.network.rule.apply(optimizer)
            carried = output.carried


def timed(ways: Sequence[str], samples: int, turns: int) -> dict[str, list[float]]:
    """Seconds of a step, the ways in turns, after one turn that does not count."""
    steps = {name: Step(name, samples) for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, turns):
        print(f"turn {turn + 1} of {turns}", file=sys.stderr, flush=True)
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def counted_rows(settings: argparse.Namespace) -> list[Row]:
    found = {way: counted(way, settings.samples) for way in settings.ways}
    rows = []
    for unit, name in (("MB", "memory"), ("GFLOP", "products")):
        for way, ours in found.items():
            aim = WAYS[way].memory if unit == "MB" else None
            theirs = found[BASELINE][unit]
            notes = {"samples": settings.samples, **ours}
            rows.append(Row(name, way, BASELINE, unit, [ours[unit]], [theirs], aim, notes=notes))
    return rows


def timed_rows(settings: argparse.Namespace) -> list[Row]:
    seconds = timed(settings.ways, settings.timed_samples, settings.turns)
    notes = {"samples": settings.timed_samples}
    return [
        Row("time", way, BASELINE, "s", own, seconds[BASELINE], WAYS[way].time, notes=notes)
        for way, own in seconds.items()
    ]


def measure(settings: argparse.Namespace) -> list[Row]:
    rows = [] if settings.only == "time" else counted_rows(settings)
    return rows + ([] if settings.only == "count" else timed_rows(settings))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=5)
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=list(WAYS),
        help="the baseline must be among them",
    )
    parser.add_argument("--samples", type=int, default=1024, help="of the batch that is counted")
    parser.add_argument("--timed_samples", type=int, default=32, help="of the batch that is timed")
    parser.add_argument("--only", choices=("count", "time"), help="leave the other out")


QUICK = {"samples": 8, "timed_samples": 2, "ways": [BASELINE, "K = 2, balanced"]}

if __name__ == "__main__":
    run_rows(measure, __doc__, QUICK, add_arguments)
