"""The products of InfoNCE's anchors with their negatives, forward and backward: time, and memory.

Baseline: the negatives gathered as `N x n x D` copies, as the released code of arXiv 1905.11786 has
them. The two take turns, each in a process of its own, since a peak never falls, at the published
sizes: one prediction step of vision's last module (32 images), and of speech's first (8 windows,
128 positions, negatives from all 4095).
"""

import argparse
import json
import subprocess
import sys
import time

import torch
from torch import Tensor

from benchmarks.peak import peak_megabytes
from benchmarks.rows import Row, run_rows
from blocklearn.kernels.indexed_products import indexed_products

SIZES = {"vision, layer3": (1120, 1120, 1024, 16), "speech, conv1": (1016, 32760, 512, 10)}


def gathered(anchors: Tensor, pool: Tensor, index: Tensor) -> Tensor:
    return (anchors.unsqueeze(1) * pool[index]).sum(dim=2)


WAYS = {"gathered": gathered, "by index": indexed_products}
BASELINE, OURS = WAYS


def measure_way(way: str, size: str, settings: argparse.Namespace) -> dict[str, float]:
    """Seconds of the fastest of some passes, and peak memory in MB above what was there before the
    first."""
    count, rows, width, negatives = SIZES[size]
    count, rows = count // settings.shrink, rows // settings.shrink
    anchors, pool = (
        torch.randn(count, width, requires_grad=True),
        torch.randn(rows, width, requires_grad=True),
    )
    index = torch.randint(rows, (count, negatives))
    before, seconds = peak_megabytes(), []
    for _ in range(settings.repeats):
        anchors.grad = pool.grad = None
        start = time.perf_counter()
        WAYS[way](anchors, pool, index).square().mean().backward()
        seconds.append(time.perf_counter() - start)
    return {"s": min(seconds), "MB": peak_megabytes() - before}


def measure(settings: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    notes = {"repeats": settings.repeats, "shrink": settings.shrink}
    for size in SIZES:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(settings.turns):
            for way, turns in found.items():
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.negatives",
                    *sys.argv[1:],
                    "--only",
                    way,
                    size,
                ]
                told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                turns.append(json.loads(told.splitlines()[-1]))
        for unit, kind in (("s", "time"), ("MB", "memory")):
            ours, theirs = ([turn[unit] for turn in found[way]] for way in (OURS, BASELINE))
            rows.append(
                Row(
                    f"negatives {kind}",
                    f"InfoNCE, {size}",
                    BASELINE,
                    unit,
                    ours,
                    theirs,
                    notes=notes,
                )
            )
    return rows


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=5, help="passes a turn")
    parser.add_argument(
        "--shrink",
        type=int,
        default=1,
        help="divides the published numbers of anchors and of samples",
    )
    parser.add_argument("--only", nargs=2, metavar=("WAY", "SIZE"), help=argparse.SUPPRESS)


def in_one_process(settings: argparse.Namespace) -> bool:
    """Whether this is the process of one way; it prints its figures."""
    if settings.only:
        print(json.dumps(measure_way(*settings.only, settings)))
    return bool(settings.only)


if __name__ == "__main__":
    run_rows(measure, __doc__, {"shrink": 4, "repeats": 1}, more_arguments, in_one_process)
