"""`make bench`: a training step of blockwise Barlow Twins against end-to-end training, time and peak memory.

Baseline: end-to-end Barlow Twins with the same projector, batch and image size. Each way runs in a process of its own,
since a process's peak memory never falls; the ways take turns, so that a machine that slows down slows all of them.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from blocklearn import Batch, BlockwiseModule, ExpandPooling, JointEmbedding, Projector
from blocklearn.blocks.update import UpdateRule

BASELINE = "end-to-end"
WAYS = {
    BASELINE: "one block of four stages",
    "blockwise": "backward and update of a block before the next block's forward",
    "blockwise, all graphs kept": "all forwards, then one backward of the summed losses, as the published code",
}


def one_step(
    network: BlockwiseModule, optimizers: list[torch.optim.Optimizer], batch: Batch, keep_graphs: bool
) -> None:
    views, losses = batch.views, []
    for block, optimizer in zip(network.walked, optimizers, strict=True):
        output = block.local_step(views, batch)
        if keep_graphs:
            losses.append(output.loss)
        else:
            output.loss.backward()
            network.rule.apply(optimizer)
        views = output.features
    if keep_graphs:
        torch.stack(losses).sum().backward()
        for optimizer in optimizers:
            network.rule.apply(optimizer)


def measure(way: str, settings: argparse.Namespace) -> dict[str, float]:
    """Median seconds a step, and peak memory in MB above that of weights and optimizer state."""
    torch.manual_seed(0)
    objective = partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=2048),
        projector=partial(Projector, widths=[settings.width] * 3),
    )
    network = BlockwiseModule(objective, settings.backbone, "end_to_end" if way == BASELINE else "per_stage")
    rule = UpdateRule()
    optimizers = [rule.build_optimizer(block, None) for block in network.walked]
    for optimizer in optimizers:  # so that its state is there before the peak is measured
        for group in optimizer.param_groups:
            group["lr"] = 0.0
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        rule.apply(optimizer)
    size = settings.image_size
    views = [torch.randn(settings.batch_size, 3, size, size) for _ in range(2)]
    batch = Batch(views, torch.zeros(settings.batch_size), torch.zeros(settings.batch_size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(settings.steps + 1):
        start = time.perf_counter()
        one_step(network, optimizers, batch, keep_graphs="kept" in way)
        seconds.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": median(seconds[1:]), "megabytes": (after - before) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image_size", type=int, default=112)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--width", type=int, default=1024, help="of the projector")
    parser.add_argument("--steps", type=int, default=3, help="measured steps a turn, after one that is not")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/results.json"))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.way:
        print(json.dumps(measure(settings.way, settings)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for turn in range(settings.turns):
        for way in WAYS:
            print(f"turn {turn + 1} of {settings.turns}: {way}", flush=True)
            command = [sys.executable, "-m", "benchmarks", *sys.argv[1:], "--way", way]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    report(found, settings)


def report(found: dict[str, list[dict[str, float]]], settings: argparse.Namespace) -> None:
    rows = {
        way: {
            "seconds": median(one["seconds"] for one in turns),
            "megabytes": median(one["megabytes"] for one in turns),
            "time ratio": median(a["seconds"] / b["seconds"] for a, b in zip(turns, found[BASELINE], strict=True)),
            "memory ratio": median(
                a["megabytes"] / b["megabytes"] for a, b in zip(turns, found[BASELINE], strict=True)
            ),
        }
        for way, turns in found.items()
    }
    about = (
        f"{settings.backbone}, {settings.image_size} px, batch {settings.batch_size}, projector {settings.width}, fp32"
    )
    table = Table(title=f"A training step, {about}, {torch.get_num_threads()} threads", title_justify="left")
    for name in ("way", "s a step", "peak MB", "time ratio", "memory ratio"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for way, row in rows.items():
        table.add_row(
            way,
            f"{row['seconds']:.2f}",
            f"{row['megabytes']:.0f}",
            f"{row['time ratio']:.2f}",
            f"{row['memory ratio']:.2f}",
        )
    Console().print(table)
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps({"settings": about, "rows": rows}, indent=2) + "\n")
    print(f"Baseline: {BASELINE}. Figures: {settings.output}")


if __name__ == "__main__":
    main()
