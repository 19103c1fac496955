"""`python -m benchmarks.parallel`: what several processes gain over one.

Every process has one core. Baseline: one process on one core, which trains the same blocks on the
same batches; for data parallel, two processes that know nothing of each other, each with as many
samples. The blocks are made so that each takes about as long as the others (a balanced cut).
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch.optim import SGD

from benchmarks.rows import Row, run_rows
from blocklearn import (
    BarlowTwins,
    Batch,
    BlockwiseModule,
    ExpandPooling,
    JointEmbedding,
    Projector,
)
from blocklearn.blocks.costs import count_costs, measure_costs
from blocklearn.distributed.block_replica import BlockReplica
from blocklearn.distributed.channel import END, Channel, Inbox
from blocklearn.distributed.collectives import broadcast_state
from blocklearn.distributed.grouping import best_grouping
from blocklearn.distributed.groups import use_data_group
from blocklearn.distributed.sync_norm import synchronise_norms
from blocklearn.training.block_parallel import BlockParallel
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.execution import InTurn
from blocklearn.training.learner import Learner

WARM_UP = 3
CPU = torch.device("cpu")


def build(settings: argparse.Namespace) -> BlockwiseModule:
    """ResNet-18 with a block for every residual unit."""
    torch.manual_seed(0)
    objective = partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=settings.width),
        projector=partial(Projector, widths=[512, 512]),
        criterion=BarlowTwins,
    )
    return BlockwiseModule(
        objective, backbone="resnet18", blocks="per_unit", optimizer=partial(SGD, lr=0.01)
    )


def batch_of(settings: argparse.Namespace) -> Batch:
    generator = torch.Generator().manual_seed(1)
    pixels, size = settings.image_size, settings.batch_size
    views = [torch.randn(size, 3, pixels, pixels, generator=generator) for _ in range(2)]
    return Batch(views, torch.zeros(size, dtype=torch.int64), torch.arange(size))


def learners_of(
    network: BlockwiseModule, replica: Callable[[Any], Any] = lambda block: None
) -> list[Learner]:
    rule = network.rule
    return [
        Learner(
            block,
            rule.build_optimizer(block.parameters(), None),
            rule,
            network.watch,
            range(10**6),
            100,
            replica=replica(block),
        )
        for block in network.walked
    ]


def seconds_per_step(execution: Any, learners: list[Learner], batch: Batch, steps: int) -> float:
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            began = time.perf_counter()
        clock = Clock(step, WARM_UP + steps)
        for _ in execution.run(learners, Carried(batch.views), batch, clock):
            pass
    if isinstance(execution, BlockParallel) and execution.outbox:
        execution.outbox.settle()
    return (time.perf_counter() - began) / steps


class Slowed(Channel):
    """A border of so many bytes a second: a message leaves when the one before has had its time."""

    bytes_per_second = float("inf")
    _free_at = 0.0

    def send(self, value: Any) -> None:
        before = self.sent_bytes
        now = time.perf_counter()
        if self._free_at > now:
            time.sleep(self._free_at - now)
        super().send(value)
        took = (self.sent_bytes - before) / self.bytes_per_second
        self._free_at = max(self._free_at, time.perf_counter()) + took


def work(kind: str, rank: int, ranks: int, settings: argparse.Namespace) -> dict[str, Any]:
    """What one process does, and what it found."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    network, batch = build(settings), batch_of(settings)
    network.train()
    if kind in ("alone", "beside"):
        if kind == "beside":
            _connect(rank, ranks, apart=True)
            dist.barrier()
        return {"seconds": seconds_per_step(InTurn(), learners_of(network), batch, settings.steps)}
    group = _connect(rank, ranks, apart=kind != "data")
    if kind == "data":
        for block in network.walked:
            broadcast_state(block)
            synchronise_norms(block)
        learners = learners_of(network, lambda block: BlockReplica(block, lambda: False))
        return {"seconds": seconds_per_step(InTurn(lag=1), learners, batch, settings.steps)}
    groups = [range(*map(int, part.split("-"))) for part in settings.groups.split(",")]
    inbox = Inbox(Channel(group, group, rank - 1, rank, CPU), 120) if rank else None
    outbox = Slowed(group, group, rank, rank + 1, CPU) if rank < ranks - 1 else None
    if kind == "slowed" and outbox:
        outbox.bytes_per_second = 1e9 / 8
    for block in network.walked:
        if block.index not in groups[rank]:
            block.to("meta")
    learners = learners_of(network)
    execution = BlockParallel(InTurn(), groups[rank], inbox, outbox)
    dist.barrier()
    seconds = seconds_per_step(execution, learners, batch, settings.steps)
    if outbox:
        outbox.send(END)
        outbox.settle()
    dist.barrier()
    sent = outbox.sent_bytes / (WARM_UP + settings.steps) if outbox else 0
    return {"seconds": seconds, "sent": sent}


def _connect(rank: int, ranks: int, apart: bool) -> Any:
    dist.init_process_group("gloo", rank=rank, world_size=ranks, timeout=timedelta(seconds=120))
    if apart:  # a batch is not divided
        alone, _ = dist.new_subgroups_by_enumeration([[other] for other in range(ranks)])
        use_data_group(alone)
    return dist.group.WORLD


def start(kind: str, ranks: int, settings: argparse.Namespace) -> list[dict[str, Any]]:
    """What processes of this file found, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--{name}={getattr(settings, name)}" for name in SETTINGS]
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.parallel",
                    "--role",
                    kind,
                    "--rank",
                    str(rank),
                    "--ranks",
                    str(ranks),
                    "--folder",
                    folder,
                    *flags,
                ],
                env=environment,
            )
            for rank in range(ranks)
        ]
        statuses = [process.wait() for process in processes]
        if any(statuses):
            raise RuntimeError(f"{kind}: processes ended with {statuses}")
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(ranks)]


def measure(settings: argparse.Namespace) -> list[Row]:
    torch.set_num_threads(1)
    costs = measure_costs(build(settings), batch_of(settings), settings.steps)
    times = [cost.seconds or 0.0 for cost in costs]
    groups = best_grouping(times, 2)
    settings.groups = ",".join(f"{group.start}-{group.stop}" for group in groups)
    slowest = max(sum(times[index] for index in group) for group in groups)
    figures: dict[str, list[float]] = {kind: [] for kind in ("alone", "block", "slowed", "data")}
    figures |= {"beside": [], "sent": []}
    for turn in range(settings.turns):
        print(f"turn {turn + 1} of {settings.turns}", file=sys.stderr, flush=True)
        figures["alone"].append(start("alone", 1, settings)[0]["seconds"])
        for kind in ("block", "slowed", "data", "beside"):
            found = start(kind, 2, settings)
            figures[kind].append(max(one["seconds"] for one in found))
            if kind == "block":
                figures["sent"].append(found[0]["sent"])
    counted = count_costs(build(settings), batch_of(settings))
    predicted = sum(times) / slowest
    measured = median(
        alone / block for alone, block in zip(figures["alone"], figures["block"], strict=True)
    )
    border = counted[groups[0].stop - 1].sent_bytes
    four = best_grouping(times, min(4, len(times)))
    of_four = sum(times) / max(sum(times[index] for index in group) for group in four)
    alone, block = ([1 / s for s in figures[kind]] for kind in ("alone", "block"))
    slowed = [1 / s for s in figures["slowed"]]
    data, beside = ([1 / s for s in figures[kind]] for kind in ("data", "beside"))
    notes = {"groups": settings.groups, "seconds by block": times}
    return [
        Row(
            "block-parallel",
            "2 processes, steps/s",
            "1 process",
            "1/s",
            block,
            alone,
            1.8,
            True,
            notes,
        ),
        Row(
            "prediction",
            "speed-up of 2 ranks from measured stage costs, over the measured",
            "measured",
            "x",
            [predicted],
            [measured],
        ),
        Row("prediction", "speed-up of 4 ranks from measured stage costs", "", "x", [of_four]),
        Row(
            "bytes",
            "sent in a step over the border",
            "counted",
            "B",
            figures["sent"],
            [border] * len(figures["sent"]),
            1.0,
        ),
        Row(
            "slow border",
            "2 processes, the border at 1 Gb/s, steps/s",
            "full speed",
            "1/s",
            slowed,
            block,
            0.98,
            True,
        ),
        Row(
            "data parallel",
            "2 processes, as many samples each, steps/s",
            "2 processes apart",
            "1/s",
            data,
            beside,
            0.95,
            True,
        ),
    ]


SETTINGS = ("image_size", "batch_size", "width", "steps", "groups")
QUICK = {"image_size": 32, "batch_size": 4, "width": 64, "steps": 2, "turns": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-size", type=int, default=96, dest="image_size")
    parser.add_argument("--batch-size", type=int, default=16, dest="batch_size")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--groups", default="")


if __name__ == "__main__":
    if "--role" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--role")
        parser.add_argument("--rank", type=int)
        parser.add_argument("--ranks", type=int)
        parser.add_argument("--folder", type=Path)
        for name in SETTINGS:
            parser.add_argument(f"--{name}", type=str if name == "groups" else int)
        own = parser.parse_args()
        torch.save(work(own.role, own.rank, own.ranks, own), own.folder / f"{own.rank}.pt")
    else:
        run_rows(measure, __doc__, QUICK, add_arguments)
