"""`python -m benchmarks.negatives`: the products of InfoNCE's anchors with their negatives, forward and backward.

Baseline: the negatives gathered as `N x n x D` copies, as the released code of arXiv 1905.11786 has them. Both run in
turns, each in a process of its own, at the published sizes: one prediction step of vision's last module (32 images), and of
speech's first (8 windows, 128 positions, negatives from all 4095).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

import torch
from torch import Tensor

from blocklearn.objectives.contrast import indexed_products
from blocklearn.reporting.tables import print_table

SIZES = {"vision, layer3": (1120, 1120, 1024, 16), "speech, conv1": (1016, 32760, 512, 10)}
BASELINE, OWN = "gathered", "by index"


def gathered(anchors: Tensor, pool: Tensor, index: Tensor) -> Tensor:
    return (anchors.unsqueeze(1) * pool[index]).sum(dim=2)


def measure(way: str, size: str, repeats: int) -> dict[str, float]:
    """Seconds of the fastest of some passes, and peak memory in MB above what was there before the first."""
    count, rows, width, negatives = SIZES[size]
    products = gathered if way == BASELINE else indexed_products
    anchors, pool = torch.randn(count, width, requires_grad=True), torch.randn(rows, width, requires_grad=True)
    index = torch.randint(rows, (count, negatives))
    before, seconds = peak_megabytes(), []
    for _ in range(repeats):
        anchors.grad = pool.grad = None
        start = time.perf_counter()
        products(anchors, pool, index).square().mean().backward()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "megabytes": peak_megabytes() - before}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.negatives", description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="how often each way is measured")
    parser.add_argument("--repeats", type=int, default=5, help="passes a turn")
    parser.add_argument("--only", nargs=2, metavar=("WAY", "SIZE"), help="measure one way in this process")
    settings = parser.parse_args()
    if settings.only:
        print(json.dumps(measure(*settings.only, settings.repeats)))
        return
    rows = []
    for size in SIZES:
        results: dict[str, list[dict[str, float]]] = {BASELINE: [], OWN: []}
        for _ in range(settings.turns):
            for way, measured in results.items():
                command = [sys.executable, "-m", "benchmarks.negatives", "--repeats", str(settings.repeats)]
                told = subprocess.run([*command, "--only", way, size], check=True, capture_output=True, text=True)
                measured.append(json.loads(told.stdout))
        middle = {(way, key): median(turn[key] for turn in turns) for way, turns in results.items() for key in turns[0]}
        for way in results:
            own = [middle[way, key] for key in ("seconds", "megabytes")]
            ratios = [middle[way, key] / middle[BASELINE, key] for key in ("seconds", "megabytes")]
            rows.append([size, way, f"{1000 * own[0]:.0f}", f"{ratios[0]:.2f}", f"{own[1]:.0f}", f"{ratios[1]:.2f}"])
    header = ["where", "negatives", "ms", "ratio", "peak MB", "ratio"]
    print_table("One step's products with the negatives, forward and backward", header, rows)


if __name__ == "__main__":
    main()
