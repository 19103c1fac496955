"""`python -m benchmarks.step`: a training step of blockwise Barlow Twins against end-to-end
training (P1, P2, P9).

Baseline: the same timm backbone, batch, projector and optimizer, trained end to end behind a global
average, plain PyTorch with nothing computed again. Blockwise is the published recipe: four blocks,
noise, 1x1 expansion to 2048 in each. `plain codes` is what it costs as published codes do it: plain
pooling, the DxD matrix, every graph kept to the end.

On a CPU each way runs in a process of its own, since a process' peak never falls; on a GPU all
live in one process (`--together`), and groups of steps take turns. Either way a machine that slows
down slows all of them. On a GPU the batch is halved until end to end fits, and the calls that make
the host wait for the device are counted in a profiler's trace (`--trace FILE` keeps it).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.growth import arithmetic_ratio
from benchmarks.peak import peak, start_of_peak
from benchmarks.rows import Row, run_rows
from benchmarks.together import alternate, fitting, make_way, memory_for
from benchmarks.waits import waits_of
from benchmarks.ways_to_train import (
    BASELINE,
    COMPILED,
    OURS,
    PLAIN,
    UNITS,
    VIEWS,
    WAYS,
    add_arguments,
    build,
    build_optimizers,
    one_step,
    random_batch,
)

STEPS_SEEN = 3  # by the profiler


def measure_way(way: str, settings: argparse.Namespace) -> dict[str, float]:
    """Median seconds per step, and peak megabytes above weights and optimizer state."""
    torch.manual_seed(0)
    device = torch.device(settings.device)
    network = build(way, settings).to(device)
    optimizers = build_optimizers(network)
    tiny = random_batch(settings, 2, settings.image_size // 4, device)
    # what libraries set up once counts for nobody
    one_step(network, optimizers, tiny, 0, keep_graphs=way == PLAIN)
    batch = random_batch(settings, settings.batch_size, settings.image_size, device)
    before, seconds = start_of_peak(device), []
    for step in range(settings.steps + 1):
        start = time.perf_counter()
        one_step(network, optimizers, batch, step, keep_graphs=way == PLAIN, bf16=settings.bf16)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {"seconds": median(seconds[1:] or seconds), "megabytes": peak(device) - before}


def alone(way: str, *more: str, **environment: str) -> dict[str, float]:
    """One way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step", *sys.argv[1:], "--way", way, *more]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout.splitlines()[-1])


def figures_of(way: str, settings: argparse.Namespace) -> dict[str, float]:
    """Seconds, and the peak twice: as the timed process has it, and in a process whose allocator
    gives back what is freed.

    glibc keeps freed blocks of up to 32 MB for later; how many differs from run to run, and no
    tensor is in them.
    """
    lean = alone(way, "--steps", "0", MALLOC_MMAP_THRESHOLD_=str(2**20))["megabytes"]
    if settings.memory_only:
        return {"megabytes": lean}
    timed = alone(way)
    return {"megabytes": lean, "with slack": timed["megabytes"], "seconds": timed["seconds"]}


def measure(settings: argparse.Namespace) -> list[Row]:
    if settings.together:
        return measure_together(settings)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in settings.ways}
    for turn in range(settings.turns):
        for way in settings.ways:
            print(f"turn {turn + 1} of {settings.turns}: {way}", file=sys.stderr, flush=True)
            found[way].append(figures_of(way, settings))
    return rows_of(found, notes_of(settings), settings)


def measure_together(settings: argparse.Namespace) -> list[Row]:
    """All ways in one process, and the waits of ours."""
    device = torch.device(settings.device)
    first, batch, settings = fitting(BASELINE, settings, device)
    ways, others = [first], [way for way in settings.ways if way != BASELINE]
    for name in [*others, *([COMPILED] if settings.compile else [])]:
        with memory_for(name) as fits:
            way = make_way(name, settings, device)
        ways += [way] if fits else []  # pyright: ignore[reportPossiblyUnboundVariable]
    fitted = alternate(ways, batch, max(settings.steps, 1), settings.turns, device)
    notes = notes_of(settings)
    rows = rows_of({way.name: way.turns for way in fitted}, notes, settings)
    ours = next((way for way in fitted if way.name == OURS), None)
    if ours is None:
        sys.exit(f"{OURS} does not fit in this device's memory; take a smaller --batch_size")
    waits = waits_of(lambda: ours.take(batch, STEPS_SEEN), device, settings.trace)
    if waits is None:
        print("the profiler sees no call of CUDA here, so waits are not counted", flush=True)
        return rows
    notes = {**notes, "waits": dict(waits), "trace": settings.trace}
    figure = sum(waits.values()) / STEPS_SEEN
    return [*rows, Row("P2 waits", f"{OURS}: waits a step", "", "", [figure], (), 0, notes=notes)]


def notes_of(settings: argparse.Namespace) -> dict[str, Any]:
    precision = "bf16" if settings.bf16 else "fp32"
    about = (
        f"{settings.backbone}, {settings.image_size} px, batch {settings.batch_size}, projector "
        f"{settings.width}, {precision}{', compiled' if settings.compile else ''}"
    )
    ratio = arithmetic_ratio(settings)
    return {**vars(settings), "arithmetic ratio": ratio, "about": about}


def rows_of(
    found: dict[str, list[dict[str, float]]], notes: dict[str, Any], settings: argparse.Namespace
) -> list[Row]:
    """From each way's figures, turn by turn."""
    ratio = notes["arithmetic ratio"]
    print(f"{notes['about']}; counting products alone, blockwise over end to end: {ratio:.2f}")
    time = 1.4 if settings.device == "cuda" else 1.05 * ratio
    memory = {OURS: 0.5, VIEWS: 0.3, UNITS: 0.3}
    kinds = [("P1 memory", "MB", "megabytes", memory, BASELINE)]
    if settings.together and settings.device == "cpu":
        kinds = []  # what one way freed another takes
    if not settings.memory_only:
        slack = [("P1 with slack", "MB", "with slack", {}, BASELINE)]
        kinds += [] if settings.together else slack
        kinds.append(("P2 time", "s", "seconds", {OURS: time}, BASELINE))
        if COMPILED in found:
            kinds.append(("P2 time", "s", "seconds", {OURS: time}, COMPILED))
    rows = []
    for row, unit, key, targets, baseline in kinds:
        for way in found:
            if way not in (BASELINE, COMPILED):
                ours, theirs = ([turn[key] for turn in found[name]] for name in (way, baseline))
                rows.append(
                    Row(row, way, baseline, unit, ours, theirs, targets.get(way), notes=notes)
                )
    for way in (VIEWS, UNITS):
        if way in found and OURS in found and not settings.memory_only:
            ours, theirs = ([turn["seconds"] for turn in found[name]] for name in (way, OURS))
            rows.append(Row("P1 time", way, OURS, "s", ours, theirs, 1.25, notes=notes))
    if settings.device == "cuda" and OURS in found and not settings.memory_only:
        rate = [settings.batch_size / turn["seconds"] for turn in found[OURS]]
        rows.append(Row("P9 images", OURS, "", "images/s", rate, (), 1500, True, notes))
    return rows


def more_arguments(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    gpu = torch.cuda.is_available()
    parser.set_defaults(batch_size=256 if gpu else 32, channels_last=gpu)
    parser.add_argument(
        "--steps",
        type=int,
        default=10 if gpu else 1,
        help="timed steps a turn, after one that is not",
    )
    parser.add_argument("--memory_only", action="store_true", help="time nothing")
    parser.add_argument("--device", default="cuda" if gpu else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=gpu)
    parser.add_argument(
        "--together",
        action=argparse.BooleanOptionalAction,
        default=gpu,
        help="all ways in one process; on a CPU their memory is then not told",
    )
    parser.add_argument("--trace", type=Path, help="JSON file for the profiler's trace")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)


def in_one_process(settings: argparse.Namespace) -> bool:
    """Whether this is the process of one way; it prints its figures."""
    if settings.way:
        print(json.dumps(measure_way(settings.way, settings)))
    return bool(settings.way)


QUICK = {"image_size": 64, "batch_size": 8, "width": 64, "steps": 1, "backbone": "resnet18"}

if __name__ == "__main__":
    run_rows(measure, __doc__, QUICK, more_arguments, in_one_process)
