"""What a step of each block computes, holds and hands on: counted on tensors that have a size and
no numbers, so exact, and the same on every machine."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ways_to_train import BASELINE, OURS, build, random_batch
from blocklearn import Batch, BlockwiseModule
from blocklearn.blocks.live_bytes import ATTENTION, LiveBytes
from blocklearn.training.contract import Carried, Clock

# Kernels that work piece by piece, and averages over the batch, decide what a small batch holds.
SIZES = (4, 32, 64)


@dataclass(frozen=True)
class Line:
    """A number that grows with the batch: counted at some sizes, straight between and beyond them.

    Attributes:
        sizes: of batches, two at least, ascending.
        values: at them.
    """

    sizes: tuple[int, ...]
    values: tuple[float, ...]

    def at(self, samples: float) -> float:
        last = len(self.sizes) - 1
        end = next((k for k in range(1, last) if samples <= self.sizes[k]), last)
        (x0, x1), (y0, y1) = (part[end - 1 : end + 1] for part in (self.sizes, self.values))
        return y0 + (y1 - y0) / (x1 - x0) * (samples - x0)

    @property
    def per_sample(self) -> float:
        """In large batches."""
        (x0, x1), (y0, y1) = self.sizes[-2:], self.values[-2:]
        return (y1 - y0) / (x1 - x0)

    def __add__(self, other: "Line") -> "Line":
        assert self.sizes == other.sizes
        values = zip(self.values, other.values, strict=True)
        return Line(self.sizes, tuple(a + b for a, b in values))


@dataclass(frozen=True)
class Piece:
    """A block with its objective, or a stage of end-to-end training.

    Attributes:
        flops: of a step's convolutions and matrix products, forward and backward.
        held: bytes: of a block the most that its step holds above weights, optimizer state and
            gradients; of a stage what waits between its forward and its backward pass.
        handed_on: bytes that the next piece gets: both views, labels and indices.
        weights: bytes of parameters, so of gradients too.
        norms: BatchNorm layers, each of which averages over all processes.
    """

    flops: Line
    held: Line
    handed_on: Line
    weights: int
    norms: int


def count_blocks(settings: argparse.Namespace, sizes: tuple[int, ...] = SIZES) -> list[Piece]:
    """Of blockwise training, block by block.

    Args:
        settings: `benchmarks.ways_to_train` has their names.
        sizes: batches that are counted.
    """
    return _lines(sizes, [_blocks_at(settings, size) for size in sizes])


def count_stages(settings: argparse.Namespace, sizes: tuple[int, ...] = SIZES) -> list[Piece]:
    """Of end-to-end training of the same backbone, cut at the same borders; the last piece has the
    loss."""
    return _lines(sizes, [_stages_at(settings, size) for size in sizes])


Counted = tuple[float, float, float, int, int]


def _lines(sizes: tuple[int, ...], counted: Sequence[Sequence[Counted]]) -> list[Piece]:
    pieces = []
    for rows in zip(*counted, strict=True):
        flops, held, sent, weights, norms = zip(*rows, strict=True)
        flops, held, sent = (Line(sizes, values) for values in (flops, held, sent))
        pieces.append(Piece(flops, held, sent, weights[0], norms[0]))
    return pieces


def imagined(mode: FakeTensorMode, way: str, settings: argparse.Namespace) -> BlockwiseModule:
    """A network whose weights have sizes and no numbers."""
    # timm reads numbers while it builds some backbones, and imagined ones cannot be read
    with torch.device("meta"):
        network = build(way, settings)
    with mode:
        for module in network.modules():
            for name, tensor in list(module._parameters.items()):
                if tensor is not None:
                    made = torch.empty(tensor.shape, dtype=tensor.dtype)
                    module._parameters[name] = nn.Parameter(made, tensor.requires_grad)
            for name, tensor in list(module._buffers.items()):
                if tensor is not None:
                    module._buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
    return network


def _size(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.parameters() if tensor.requires_grad)


def _norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def _counted(known: Sequence[Tensor], work: Callable[[], Any]) -> tuple[Any, float, LiveBytes]:
    counting = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    with counting as counter, LiveBytes() as live:
        live.known(*known)
        result = work()
    return result, counter.get_total_flops(), live


def _sent(views: Sequence[Tensor], batch: Batch) -> int:
    return sum(tensor.nbytes for tensor in (*views, batch.label, batch.index))


def _blocks_at(settings: argparse.Namespace, size: int) -> list[Counted]:
    mode = FakeTensorMode()
    network = imagined(mode, OURS, settings)
    rows = []
    with mode:
        batch = random_batch(settings, size, settings.image_size)
        carried = Carried(batch.views)
        for block in network.walked:

            def step(block: Any = block, carried: Carried = carried) -> Any:
                output = block.local_step(carried, batch, Clock(0))
                output.loss.backward()
                return output.carried

            known = [*network.parameters(), *network.buffers(), *carried.views, *batch.views]
            carried, flops, live = _counted(known, step)
            block.zero_grad()
            held = live.peak - _size(block)  # gradients are counted apart
            sent = _sent(carried.views, batch)
            rows.append((flops, max(held, 0), sent, _size(block), _norms(block)))
    return rows


def _stage_at(
    stage: nn.Module, views: Sequence[Tensor], batch: Batch, known: Sequence[Tensor]
) -> tuple[Counted, list[Tensor]]:
    """And what the next one gets."""
    asked = views is not batch.views  # nobody asks for gradients of images
    inputs = [view.detach().requires_grad_(asked) for view in views]
    made, flops, live = _counted([*known, *inputs], lambda: [stage(view) for view in inputs])
    held = live.now
    gradients = [torch.empty_like(view) for view in made]
    _, back, _ = _counted([], lambda: torch.autograd.backward(made, gradients))
    stage.zero_grad()
    row = (flops + back, held, _sent(made, batch), _size(stage), _norms(stage))
    return row, [view.detach() for view in made]


def _stages_at(settings: argparse.Namespace, size: int) -> list[Counted]:
    mode = FakeTensorMode()
    cut = imagined(mode, OURS, settings)
    groups = [nn.Sequential(*block.stages) for block in cut.walked]
    network = imagined(mode, BASELINE, settings)
    (whole,) = network.walked
    rows: list[Counted] = []
    with mode:
        batch = random_batch(settings, size, settings.image_size)
        known = [
            tensor
            for module in (cut, network)
            for tensor in (*module.parameters(), *module.buffers())
        ]
        known += batch.views
        views: Sequence[Tensor] = batch.views
        for group in groups:
            row, views = _stage_at(group, views, batch, known)
            rows.append(row)
        # what the loss adds
        loss, flops, live = _counted(
            known, lambda: whole.local_step(Carried(batch.views), batch, Clock(0)).loss
        )
        held = live.now - sum(row[1] for row in rows)
        _, back, _ = _counted([], loss.backward)
        flops += back - sum(row[0] for row in rows)
        last = rows.pop()
        rows.append(
            (
                last[0] + flops,
                last[1] + max(held, 0),
                0,
                last[3] + _size(whole.objective),
                last[4] + _norms(whole.objective),
            )
        )
    return rows
