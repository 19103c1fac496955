"""`python -m benchmarks.growth`: how memory and arithmetic of a step grow with batch, resolution,
width and blocks.

Baseline: end-to-end training (`benchmarks.ways_to_train`). Nothing is timed and nothing is
computed: steps run on fake tensors, which have sizes and no numbers, so bytes and products are
exact, and those of a large batch cost no memory.
"""

import argparse
import sys
from functools import partial

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import SGD, Optimizer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rows import Row, run_rows
from benchmarks.ways_to_train import (
    BASELINE,
    OURS,
    PLAIN,
    add_arguments,
    build,
    build_optimizers,
    one_step,
    random_batch,
)
from blocklearn import Batch, BlockwiseModule
from blocklearn.blocks.live_bytes import LiveBytes

VARIED = {
    "batch": ("batch_size", [8, 32, 128]),
    "resolution": ("image_size", [112, 224, 320]),
    "projector": ("width", [1024, 8192]),
    "blocks": ("blocks", ["per_stage", "per_unit"]),
}


def held_megabytes(way: str, settings: argparse.Namespace) -> float:
    """Most that tensors hold at once in a step, above weights, buffers, optimizer state and images.
    Exact."""
    with FakeTensorMode():
        network, optimizers, batch = _ready(way, settings)
        state = [
            tensor
            for one in optimizers
            for values in one.state.values()
            for tensor in values.values()
        ]
        with LiveBytes() as live:
            live.known(*network.parameters(), *network.buffers(), *batch.views, *state)
            one_step(network, optimizers, batch, 0, keep_graphs=way == PLAIN)
    return live.peak / 2**20


def gigaflops(way: str, settings: argparse.Namespace) -> float:
    """Floating-point operations of a step's convolutions and matrix products, forward and backward,
    in 1e9. Exact."""
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        network, optimizers, batch = _ready(way, settings)
        one_step(network, optimizers, batch, 0, keep_graphs=way == PLAIN)
    return counter.get_total_flops() / 1e9


def arithmetic_ratio(settings: argparse.Namespace) -> float:
    """Products of the recipe as it is written, over end-to-end training's: the least ratio of times
    where products are all that costs."""
    without = argparse.Namespace(
        **{**vars(settings), "compile": False, "batch_size": min(settings.batch_size, 4)}
    )
    return gigaflops(PLAIN, without) / gigaflops(BASELINE, without)


def _ready(
    way: str, settings: argparse.Namespace
) -> tuple[BlockwiseModule, list[Optimizer], Batch]:
    # LARS reads norms, which fake tensors lack.
    network = build(way, settings, partial(SGD, lr=0.1, momentum=0.9, foreach=False))
    return (
        network,
        build_optimizers(network),
        random_batch(settings, settings.batch_size, settings.image_size),
    )


def measure(settings: argparse.Namespace) -> list[Row]:
    rows = []
    for varied, (name, values) in VARIED.items():
        for value in values[:1] if settings.quick else values:
            case = argparse.Namespace(**{**vars(settings), name: value})
            about = f"{varied} {value}"
            print(about, file=sys.stderr, flush=True)
            for kind, unit, cost in (
                ("memory", "MB", held_megabytes),
                ("products", "GFLOP", gigaflops),
            ):
                costs = {way: cost(way, case) for way in settings.ways}
                for way in settings.ways:
                    if way != BASELINE:
                        note = {"way": way, varied: value}
                        figures = [costs[way]], [costs[BASELINE]]
                        rows.append(
                            Row(kind, f"{about}, {way}", BASELINE, unit, *figures, notes=note)
                        )
    return rows


QUICK = {
    "image_size": 64,
    "batch_size": 4,
    "width": 64,
    "backbone": "resnet18",
    "ways": [BASELINE, OURS],
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    run_rows(measure, __doc__, QUICK, add_arguments)
