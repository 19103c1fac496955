"""What every block costs: counted without computing anything, or measured."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from blocklearn.batch import Batch
from blocklearn.blocks.imagined import imagining
from blocklearn.blocks.live_bytes import LiveBytes, Products
from blocklearn.kernels.pieces import pieces_of_a_gpu
from blocklearn.training.contract import BlockOutput, Carried, Clock
from blocklearn.training.execution import InTurn
from blocklearn.training.finite import FiniteWatch
from blocklearn.training.learner import Learner
from blocklearn.training.lightning_walk import LightningWalk

Precision = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class BlockCost:
    """Of one training step of one block.

    Attributes:
        name: `block1`.
        stages: that it trains.
        flops: of convolutions, matrix products and attention, forward and backward, as torch's
            `FlopCounterMode` counts them: a multiplication and an addition are 2.
        sent_bytes: what the next block gets: features and extras, and the labels and indices of the
            samples.
        weight_bytes: parameters and buffers that it owns.
        objective_bytes: those of them that its objective has: what is there for training alone.
        gradient_bytes: of its parameters.
        optimizer_bytes: what its optimizer keeps from step to step.
        activation_bytes: most that tensors hold at once during its step, above weights, optimizer
            state and the batch's own views: what it was handed, graph, gradients and all.
        seconds: of the step and its update; null where it was not measured.
    """

    name: str
    stages: str
    flops: int
    sent_bytes: int
    weight_bytes: int
    objective_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    seconds: float | None = None


def count_costs(
    network: LightningWalk,
    batch: Batch,
    samples: int | None = None,
    precision: Precision = nullcontext,
) -> list[BlockCost]:
    """Exact, and the same on every machine and in every process: a step on tensors without numbers.
    All blocks learn, whatever their windows. In a run of several processes this one is counted as
    if it were alone.

    Args:
        network: left as it is. Built inside `imagined_weights` it takes no memory.
        batch: whose shapes and types are counted; its views, not stored features.
        samples: how many there are in a batch of this process; null for as many as `batch` has.
        precision: what the forward passes run in, such as autocast.
    """
    leave_out = (network._trainer, network.learners)
    with (
        imagining(network, leave_out) as imagined,
        torch.compiler.set_stance("force_eager"),
        pieces_of_a_gpu(),
    ):
        imagined.train()
        batch = _imagined_batch(batch, samples or len(batch.index), imagined.device)
        batch = imagined.masked(batch, Clock())
        learners = _learners(imagined)
        states = [sum(map(_bytes, _state(one.optimizer))) for one in learners]
        costs: list[BlockCost] = []
        with LiveBytes() as live, Products() as products:
            live.known(*imagined.parameters(), *imagined.buffers(), *batch.views)
            live.known(batch.label, batch.index, *batch.visible)
            live.known(*(tensor for one in learners for tensor in _state(one.optimizer)))
            before = 0
            for learner, output in _steps(learners, batch, precision):
                block = imagined.walked[learner.block.index]
                flops = products.flops
                weights = [*block.parameters(), *block.buffers()]
                own = [*block.objective.parameters(), *block.objective.buffers()]
                trained = [p for p in block.parameters() if p.requires_grad]
                costs.append(
                    BlockCost(
                        block.name,
                        block.stage_names,
                        flops - before,
                        sent_bytes(output.carried, batch),
                        sum(map(_bytes, weights)),
                        sum(map(_bytes, own)),
                        sum(map(_bytes, trained)),
                        states[block.index],
                        live.peak,
                    )
                )
                before, live.peak = flops, live.now
    return costs


def measure_costs(
    network: LightningWalk,
    batch: Batch,
    repeats: int = 5,
    device: torch.device | str = "cpu",
    precision: Precision = nullcontext,
) -> list[BlockCost]:
    """The same, with the seconds that every block really takes: the median of some steps, after one
    that does not count. Each block's step, backward pass and update are timed; what blocks hand to
    each other stays on the device.

    Args:
        network: its weights move.
        batch: which is trained on, as large as a batch of this process.
        repeats: steps that count.
        device: for network and batch.
        precision: what the forward passes run in, such as autocast.
    """
    costs = count_costs(network, batch, precision=precision)
    device = torch.device(device)
    network.to(device).train()
    batch = batch._replace(
        views=[view.to(device) for view in batch.views],
        label=batch.label.to(device),
        index=batch.index.to(device),
    )
    batch = network.masked(batch, Clock())
    learners = _learners(network)
    times: list[list[float]] = [[] for _ in learners]
    for repeat in range(1 + repeats):
        before = _now(device)
        for learner, _ in _steps(learners, batch, precision):
            now = _now(device)
            if repeat:
                times[learner.block.index].append(now - before)
            before = now
    return [replace(cost, seconds=median(own)) for cost, own in zip(costs, times, strict=True)]


def products_of_blocks(network: LightningWalk, data: Any, samples: int = 4) -> list[float]:
    """What a step of each block computes, for a few samples of a data module; equal numbers where
    there is none. What they are used for, grouping blocks, depends on their proportions."""
    if not hasattr(data, "few_samples"):
        return [1.0] * len(network.walked)
    return [float(cost.flops) for cost in count_costs(network, data.few_samples(samples))]


def sent_bytes(carried: Carried, batch: Batch) -> int:
    """Of all that the next block gets."""
    beside = [batch.label, batch.index, batch.visible]
    return sum(map(_bytes, _tensors([carried.views, carried.extras, *beside])))


class _Trusting(FiniteWatch):
    """Reads no loss: there may be none to read, and a network of random numbers may have any."""

    def take_loss(self, *args: Any) -> bool:
        return True

    def take_gradient(self, *args: Any) -> bool:
        return True


def _learners(network: LightningWalk) -> list[Learner]:
    """With the optimizers' state, which others have after their first update."""
    rule, watch = network.rule, _Trusting(network.rule.non_finite)
    learners = []
    for block in network.walked:
        optimizer = rule.build_optimizer(block.parameters(), 1, block.settings.lr_factor)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        rule.apply(optimizer)
        learners.append(Learner(block, optimizer, rule, watch, range(1), 1))
    return learners


def _steps(
    learners: Sequence[Learner], batch: Batch, precision: Precision
) -> Iterator[tuple[Learner, BlockOutput]]:
    with precision():
        yield from InTurn().run(learners, Carried(batch.views), batch, Clock())


def _imagined_batch(batch: Batch, samples: int, device: torch.device) -> Batch:
    def alike(tensor: Tensor) -> Tensor:
        return torch.empty(samples, *tensor.shape[1:], dtype=tensor.dtype, device=device)

    views = [alike(view) for view in batch.views]
    return Batch(views, alike(batch.label), alike(batch.index))


def _state(optimizer: Optimizer) -> list[Tensor]:
    return list(_tensors(list(optimizer.state.values())))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _tensors(inner)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
