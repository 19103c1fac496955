"""Several ways of training in one process, on one device, in groups of steps that take turns: a
GPU's clock rises and falls for all of them alike."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.optim import Optimizer

from benchmarks.peak import peak, start_of_peak
from benchmarks.ways_to_train import PLAIN, build, build_optimizers, one_step, random_batch
from blocklearn import Batch, BlockwiseModule

WARM_UP = 3  # steps: a compiler's, and what libraries choose and set up once


@dataclass
class Way:
    """Weights and optimizer state of one way, and the step that it is at."""

    name: str
    network: BlockwiseModule
    optimizers: Sequence[Optimizer]
    bf16: bool
    step: int = 0
    turns: list[dict[str, float]] = field(default_factory=list)

    def take(self, batch: Batch, count: int) -> None:
        for _ in range(count):
            keeps = self.name == PLAIN
            one_step(self.network, self.optimizers, batch, self.step, keeps, self.bf16)
            self.step += 1


def make_way(name: str, settings: argparse.Namespace, device: torch.device) -> Way:
    torch.manual_seed(0)
    network = build(name, settings).to(device)
    return Way(name, network, build_optimizers(network), settings.bf16)


def fitting(
    name: str, settings: argparse.Namespace, device: torch.device
) -> tuple[Way, Batch, argparse.Namespace]:
    """The way that all others are compared with, a batch, and the settings: with half the batch,
    and half of that, until one of its steps fits in the device's memory.

    Raises:
        SystemExit: where two samples do not fit.
    """
    way, size = make_way(name, settings, device), settings.batch_size
    while size >= 2:
        batch = random_batch(settings, size, settings.image_size, device)
        with memory_for(f"{name}, batch {size}") as fits:
            way.take(batch, 1)
        if fits:
            return way, batch, argparse.Namespace(**{**vars(settings), "batch_size": size})
        del batch
        for parameter in way.network.parameters():
            parameter.grad = None
        size //= 2
    sys.exit(f"{name}: not even two samples fit in this device's memory; take a smaller --backbone")


@contextmanager
def memory_for(what: str) -> Iterator[list[bool]]:
    """Yields a list that stays full unless what is done inside needs more memory than there is."""
    fits = [True]
    try:
        yield fits
    except torch.OutOfMemoryError:
        print(f"{what}: not enough memory", file=sys.stderr, flush=True)
        fits.clear()
    if not fits:
        torch.cuda.empty_cache()


def alternate(
    ways: Sequence[Way], batch: Batch, steps: int, turns: int, device: torch.device
) -> list[Way]:
    """Seconds a step, and peak megabytes above what lies there between two steps (weights and
    optimizer state of all ways, and the images), into the ways' `turns`.

    Returns:
        The ways whose steps fit in memory.
    """
    fitted = []
    for way in ways:
        with memory_for(way.name) as fits:
            way.take(batch, WARM_UP)
        fitted += [way] if fits else []
    for turn in range(turns):
        for way in fitted:
            print(f"turn {turn + 1} of {turns}: {way.name}", file=sys.stderr, flush=True)
            way.turns.append(_group(way, batch, steps, device))
    return fitted


def _group(way: Way, batch: Batch, steps: int, device: torch.device) -> dict[str, float]:
    wait_for(device)
    before, start = start_of_peak(device), time.perf_counter()
    way.take(batch, steps)
    wait_for(device)
    seconds = (time.perf_counter() - start) / steps
    return {"seconds": seconds, "megabytes": peak(device) - before}


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
