"""Masked reconstruction block by block: what a step costs, and which part the decoders are.

`python -m benchmarks.masked`. Baseline: the same vision transformer in one block with one decoder
(MAE, VideoMAE). Memory and products are counted on tensors without numbers, so they are exact and
the same on every machine; times are of a small batch on this one. The decoders' part is what the
same network costs beyond one that has none: its loss is then the mean square of the features, which
costs next to nothing.
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
from blocklearn import Batch, BlockwiseModule
from blocklearn.backbones.stage import StageSpec
from blocklearn.blocks.costs import BlockCost, count_costs
from blocklearn.blocks.imagined import imagined_weights
from blocklearn.blocks.settings import NetworkOptions
from blocklearn.masks import Mask, RandomMask, TubeMask
from blocklearn.objectives import LocalBatch, MaskedReconstruction, Objective, ObjectiveOutput
from blocklearn.training.contract import Carried, Clock

BASELINE = "end to end"
DEPTH, WIDTH, HEADS = 4, 192, 3


@dataclass(frozen=True)
class Case:
    """A network and what it is fed.

    Attributes:
        backbone: of timm, or of blocklearn.
        view: shape of a sample.
        mask: which tokens are hidden.
    """

    backbone: str
    view: tuple[int, ...]
    mask: Mask


CASES = {
    "clips, Tiny": Case("video_vit_tiny", (3, 16, 128, 128), TubeMask(0.9)),
    "clips, Small": Case("video_vit_small", (3, 16, 128, 128), TubeMask(0.9)),
    "images, Tiny": Case("vit_tiny_patch16_224", (3, 224, 224), RandomMask(0.75)),
    "images, Small": Case("vit_small_patch16_224", (3, 224, 224), RandomMask(0.75)),
}


@dataclass(frozen=True)
class Way:
    """One way of training; decoders as published, where nothing is said.

    Attributes:
        blocks: number of them; one is end to end.
        depth: layers of a decoder; none for no decoder.
        width: of its tokens.
        recompute: what backward computes again.
    """

    blocks: int
    depth: int = DEPTH
    width: int = WIDTH
    recompute: Any = "cheap"

    @property
    def heads(self) -> int:
        return max(self.width // 64, 1)


WAYS = {
    BASELINE: Way(1),
    "K = 4": Way(4),
    "K = 6": Way(6),
    "K = 4, decoders of 2 layers": Way(4, 2),
    "K = 4, decoders of 1 layer": Way(4, 1),
    "K = 4, decoders 96 wide": Way(4, 4, 96),
    "K = 4, 1 layer, 96 wide": Way(4, 1, 96),
    "K = 4, units again": Way(4, recompute="units"),
    "end to end, units again": Way(1, recompute="units"),
}


class NoDecoder(Objective):
    """Takes the visible tokens, and their mean square for a loss."""

    tokens = "any"

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        return ObjectiveOutput(torch.stack([v.square().mean() for v in local.features]).sum(), {})


def build(case: Case, way: Way, decoders: bool = True) -> BlockwiseModule:
    objective = (
        partial(MaskedReconstruction, depth=way.depth, width=way.width, heads=way.heads)
        if decoders
        else NoDecoder
    )
    return BlockwiseModule(
        objective,
        case.backbone,
        way.blocks,
        mask=case.mask,
        recompute=way.recompute,
        optimizer=partial(torch.optim.AdamW, lr=1e-4),
        network=NetworkOptions(fixed_positions=True),
    )


def random_batch(case: Case, samples: int) -> Batch:
    index = torch.arange(samples)
    return Batch([torch.randn(samples, *case.view)], torch.zeros_like(index), index)


@cache
def counted(case: Case, way: Way, samples: int, decoders: bool = True) -> dict[str, float]:
    """Of one step: the most megabytes that tensors hold above weights, optimizer state and the
    batch; gigaflops; and millions of parameters. Exact."""
    with imagined_weights():
        network = build(case, way, decoders)
    costs: Sequence[BlockCost] = count_costs(network, random_batch(case, 2), samples)
    return {
        "MB": max(cost.activation_bytes for cost in costs) / 2**20,
        "GFLOP": sum(cost.flops for cost in costs) / 1e9,
        "M parameters": sum(cost.gradient_bytes for cost in costs) / 4e6,
    }


class Step:
    """A step of the walk, block by block, without a trainer."""

    def __init__(self, case: Case, way: Way, samples: int, decoders: bool = True) -> None:
        torch.manual_seed(0)
        self.network = build(case, way, decoders).train()
        self.batch = random_batch(case, samples)
        rule = self.network.rule
        self.optimizers = [
            rule.build_optimizer(block.parameters(), None) for block in self.network.walked
        ]
        self.steps = 0

    def __call__(self) -> None:
        clock = Clock(self.steps, epoch=self.steps)
        batch, carried = self.network.masked(self.batch, clock), Carried(self.batch.views)
        for block, optimizer in zip(self.network.walked, self.optimizers, strict=True):
            output = block.local_step(carried, batch, clock)
            output.loss.backward()
            self.network.rule.apply(optimizer)
            carried = output.carried
        self.steps += 1


def timed(case: Case, ways: Sequence[str], samples: int, turns: int) -> dict[str, list[float]]:
    """Seconds of a step, the ways in turns; those without decoders are called `WAY, no decoder`."""
    steps = {name: Step(case, WAYS[name], samples) for name in ways}
    steps |= {
        f"{name}, no decoder": Step(case, WAYS[name], samples, False)
        for name in ways
        if name in (BASELINE, "K = 4", "K = 6")
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(-1, turns):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(settings: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    for name in settings.cases:
        print(name, file=sys.stderr, flush=True)
        rows += [] if settings.only == "time" else counted_rows(name, settings)
        rows += [] if settings.only == "count" else timed_rows(name, settings)
    return rows


def counted_rows(name: str, settings: argparse.Namespace) -> list[Row]:
    """Each way over the baseline, and the part of it that its decoders are."""
    rows, case, notes = [], CASES[name], {"case": name, "samples": settings.samples}
    whole = {way: counted(case, WAYS[way], settings.samples) for way in settings.ways}
    bare = {
        name: counted(case, Way(way.blocks, recompute=way.recompute), settings.samples, False)
        for name, way in WAYS.items()
        if name in settings.ways
    }
    for way in settings.ways:
        for unit, ours in whole[way].items():
            own = {**notes, "way": way, "without decoders": bare[way][unit]}
            theirs = whole[BASELINE][unit]
            rows.append(Row(unit, f"{name}, {way}", BASELINE, unit, [ours], [theirs], notes=own))
    return rows


def timed_rows(name: str, settings: argparse.Namespace) -> list[Row]:
    seconds = timed(CASES[name], settings.ways, settings.timed_samples, settings.turns)
    notes = {"case": name, "samples": settings.timed_samples}
    return [
        Row("time", f"{name}, {way}", BASELINE, "s", found, seconds[BASELINE], notes=notes)
        for way, found in seconds.items()
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=list(WAYS),
        help="the baseline must be among them",
    )
    parser.add_argument("--samples", type=int, default=64, help="of the batch that is counted")
    parser.add_argument("--timed_samples", type=int, default=4, help="of the batch that is timed")
    parser.add_argument("--only", choices=("count", "time"), help="leave the other out")


QUICK = {"samples": 4, "timed_samples": 2, "ways": [BASELINE, "K = 4"], "cases": ["clips, Tiny"]}

if __name__ == "__main__":
    run_rows(measure, __doc__, QUICK, add_arguments)
