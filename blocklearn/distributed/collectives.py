"""Collectives that carry gradients.

One convention holds throughout: every process computes the loss of the whole batch (or the mean
loss of its equal share of it), calls backward on it, and the parameters' gradients are then
averaged over the processes, as DistributedDataParallel does. A backward pass therefore sums over
the processes: it is the gradient of the sum of their losses. The average is then the gradient that
one process with the whole batch has.

"The processes" are those among which a batch is divided (`blocklearn.distributed.groups`). Where
that is one, everything here is the identity. Every process must make the same calls in the same
order.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from blocklearn.distributed.groups import data_group, data_rank, world_size


def sum_over_processes(x: Tensor) -> Tensor:
    """The elementwise sum of all processes' `x`, of the same shape everywhere. Gradients are summed
    too."""
    return x if world_size() == 1 else _Sum.apply(x)  # pyright: ignore[reportReturnType]


def gather_batch(x: Tensor, even: bool = True) -> Tensor:
    """All processes' rows in rank order: `(B, ...)` to `(B_0 + B_1 + ..., ...)`. A row's gradient
    is the sum of what all processes have for it.

    Args:
        x: this process' rows.
        even: every process has equally many rows. Where that is not sure, their numbers are
            exchanged first.
    """
    if world_size() == 1:
        return x
    counts = [len(x)] * world_size() if even else _row_counts(x)
    return _Gather.apply(x, counts)  # pyright: ignore[reportReturnType]


def first_row(x: Tensor, even: bool = True) -> int:
    """Where this process' rows begin in `gather_batch(x, even)`."""
    if world_size() == 1:
        return 0
    return data_rank() * len(x) if even else sum(_row_counts(x)[: data_rank()])


def broadcast_state(module: nn.Module) -> None:
    """Give every process the parameters and buffers of rank 0."""
    if world_size() == 1:
        return
    for tensor in (*module.parameters(), *module.buffers()):
        values = tensor.detach().contiguous()  # convolutions may lie in NHWC order
        dist.broadcast(values, group_src=0, group=data_group())
        with torch.no_grad():
            tensor.copy_(values)


def gather_on_first(value: Any) -> list[Any]:
    """Every process' `value`, plain data and tensors on the CPU, in rank order on rank 0; elsewhere
    an empty list."""
    if world_size() == 1:
        return [value]
    gathered = [None] * world_size() if data_rank() == 0 else None
    dist.gather_object(value, gathered, group_dst=0, group=data_group())
    return gathered or []


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return all_reduce(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return all_reduce(grads[0])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        longest = max(counts)
        padded = (
            x.contiguous()
            if len(x) == longest
            else torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])
        )
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=data_group())
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return all_reduce(grads[0]).split(ctx.counts)[data_rank()], None


def all_reduce(x: Tensor) -> Tensor:
    """The sum of all processes' `x`, without gradient; in a single process, `x`."""
    if world_size() == 1:
        return x
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=data_group())
    return total


def _row_counts(x: Tensor) -> list[int]:
    counts = [torch.empty(1, dtype=torch.int64, device=x.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device), group=data_group())
    return torch.cat(counts).tolist()
