"""Seconds, bytes and memory of a step of each way to share a batch among devices, from what its
pieces cost (`benchmarks.scale_counts`) and how fast machines are assumed to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import log2
from operator import add

from benchmarks.scale_counts import Piece
from blocklearn.distributed.grouping import best_grouping

VIEWS = 2
LEAD = 2  # `--trainer.strategy.lead`
FORWARD = 1 / 3  # of a step's arithmetic


@dataclass(frozen=True)
class Machines:
    """What is assumed.

    Attributes:
        flops: a second and device.
        a_node: devices in it.
        intra: bytes a second, device to device in one node, each way.
        inter: bytes a second, node to node, each way; its devices share it.
        latency: seconds of one message.
    """

    flops: float
    a_node: int
    intra: float
    inter: float
    latency: float

    def all_reduce(self, size: float, members: int) -> float:
        """Seconds of a ring over so many consecutive devices, which leaves a node once."""
        if members == 1:
            return 0.0
        speed = self.intra if members <= self.a_node else self.inter
        return 2 * (members - 1) / members * size / speed + self.small_all_reduce(members)

    def small_all_reduce(self, members: int) -> float:
        return 2 * log2(members) * self.latency

    def hand_on(self, size: float, stride: int, devices: int) -> float:
        """Seconds from a device to the one `stride` further, all devices at the same time."""
        if devices <= self.a_node:
            return size / self.intra + self.latency
        return size / (self.inter / min(stride, self.a_node)) + self.latency


@dataclass(frozen=True)
class Cost:
    """Of a step, of one way on some devices.

    Attributes:
        way: its name.
        mesh: places in the chain, and devices at each.
        border: bytes over the busiest border, in all; back as well for the pipeline.
        averaged: bytes of gradients that the busiest device averages.
        memory: bytes of the fullest device.
        efficiency: of the time that the arithmetic takes where it is shared evenly.
        seconds: of the step.
        note: what costs most of the rest.
    """

    way: str
    mesh: tuple[int, int]
    border: float
    averaged: float
    memory: float
    efficiency: float
    seconds: float
    note: str


def bubble(places: int, micro_batches: int) -> float:
    """Share of a step in which a stage of a 1F1B pipeline waits."""
    return (places - 1) / (micro_batches + places - 1)


def with_averaging(times: Sequence[float], transfers: Sequence[float]) -> float:
    """Seconds of a step of blocks one after the other. A block's gradients are averaged from the
    beginning of its backward pass on, after those of the block before, and its update waits until
    the next block is computed."""
    clock = network = 0.0
    ends: list[float] = []
    for time, transfer in zip(times, transfers, strict=True):
        network = max(network, clock + FORWARD * time) + transfer
        clock += time
        network = max(network, clock)
        ends.append(network)
        if len(ends) > 1:
            clock = max(clock, ends[-2])
    return max(clock, ends[-1])


def _seconds(pieces: Sequence[Piece], samples: float, members: int, machines: Machines) -> float:
    norm = machines.small_all_reduce(members) * 2 * VIEWS if members > 1 else 0.0
    times = [piece.flops.at(samples) / machines.flops + piece.norms * norm for piece in pieces]
    return with_averaging(times, [machines.all_reduce(p.weights, members) for p in pieces])


def _memory(pieces: Sequence[Piece], samples: float, members: int, states: int) -> float:
    """Weights, optimizer state, and gradients: of all blocks where they are averaged, of one at a
    time where they are not; and the step of one block at a time."""
    weights = sum(piece.weights for piece in pieces)
    alone = members == 1
    steps = [piece.held.at(samples) + alone * piece.weights for piece in pieces]
    return weights * (1 + states + (not alone)) + max(steps)


def _efficiency(
    pieces: Sequence[Piece], batch: int, devices: int, seconds: float, machines: Machines
) -> float:
    arithmetic = sum(piece.flops.per_sample for piece in pieces) * batch
    return arithmetic / machines.flops / devices / seconds


def data(
    way: str, pieces: Sequence[Piece], batch: int, devices: int, states: int, machines: Machines
) -> Cost:
    samples = batch / devices
    seconds = _seconds(pieces, samples, devices, machines)
    return Cost(
        way,
        (1, devices),
        0,
        sum(piece.weights for piece in pieces),
        _memory(pieces, samples, devices, states),
        _efficiency(pieces, batch, devices, seconds, machines),
        seconds,
        f"{samples:g} samples a device",
    )


def end_to_end_data(
    stages: Sequence[Piece], batch: int, devices: int, states: int, machines: Machines
) -> Cost:
    whole = Piece(
        reduce(add, (stage.flops for stage in stages)),
        reduce(add, (stage.held for stage in stages)),
        stages[-1].handed_on,
        sum(stage.weights for stage in stages),
        sum(stage.norms for stage in stages),
    )
    return data("end to end, data", [whole], batch, devices, states, machines)


def block_parallel(
    pieces: Sequence[Piece], places: int, batch: int, devices: int, states: int, machines: Machines
) -> Cost:
    members = devices // places
    samples = batch / members
    groups = best_grouping([piece.flops.at(samples) for piece in pieces], places)
    own = [[pieces[index] for index in group] for group in groups]
    works = [_seconds(group, samples, members, machines) for group in own]
    borders = [group[-1].handed_on.at(samples) for group in own[:-1]]
    slowest = max(works)
    sends = [machines.hand_on(size, members, devices) for size in borders]
    seconds = max(slowest, *sends)
    # in: one at work, one that waits, one on its way; out: as many as may be under way
    waiting = [3 * size for size in (0, *borders)]
    leaving = [LEAD * size for size in (*borders, 0)]
    memory = max(
        _memory(group, samples, members, states) + arriving + going
        for group, arriving, going in zip(own, waiting, leaving, strict=True)
    )
    note = f"slowest place {slowest / (sum(works) / places):.2f} of the mean"
    if seconds > slowest:
        note = f"border takes {seconds / slowest:.1f} times the slowest place"
    return Cost(
        "blockwise, block x data",
        (places, members),
        members * max(borders),
        max(sum(piece.weights for piece in group) for group in own) if members > 1 else 0,
        memory,
        _efficiency(pieces, batch, devices, seconds, machines),
        seconds,
        note,
    )


def pipeline(
    stages: Sequence[Piece],
    places: int,
    batch: int,
    devices: int,
    states: int,
    machines: Machines,
    most: int,
) -> Cost:
    """1F1B. In its favour: sends cost nothing while they take less than the computing, norms are
    those of a micro-batch, and the averaging runs beside the last micro-batch's backward pass."""
    members = devices // places
    micro_batches = int(max(1, min(most, batch / members)))
    samples = batch / members / micro_batches
    groups = best_grouping([stage.flops.at(samples) for stage in stages], places)
    own = [[stages[index] for index in group] for group in groups]
    works = [sum(s.flops.at(samples) for s in group) / machines.flops for group in own]
    borders = [group[-1].handed_on.at(samples) for group in own[:-1]]
    slot = max(*works, *(machines.hand_on(size, members, devices) for size in borders))
    weights = [sum(stage.weights for stage in group) for group in own]
    averaging = max(machines.all_reduce(size, members) for size in weights)
    exposed = max(0.0, averaging - (1 - FORWARD) * slot)
    seconds = (micro_batches + places - 1) * slot + exposed
    memory = max(
        size * (2 + states)
        + sum(stage.held.at(samples) for stage in group) * min(places - place, micro_batches)
        for place, (size, group) in enumerate(zip(weights, own, strict=True))
    )
    waits = bubble(places, micro_batches)
    return Cost(
        "end to end, pipeline x data",
        (places, members),
        2 * members * micro_batches * max(borders),
        max(weights) if members > 1 else 0,
        memory,
        _efficiency(stages, batch, devices, seconds, machines),
        seconds,
        f"bubble {100 * waits:.0f} % of {micro_batches} micro-batches"
        + (", border-bound" if slot > max(works) else ""),
    )
