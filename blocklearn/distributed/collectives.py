"""Collectives that carry gradients, and the averaging of gradients.

One convention holds throughout: every process computes the loss of the whole batch (or the mean
loss of its equal share of it), calls backward on it, and the parameters' gradients are then
averaged over the processes, as DistributedDataParallel does and `average_gradients` does here. A
backward pass therefore sums over the processes: it is the gradient of the sum of their losses. The
average is then the gradient that one process with the whole batch has.

In a single process, or without a process group, everything here is the identity. Every process must
make the same calls in the same order.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


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
    return dist.get_rank() * len(x) if even else sum(_row_counts(x)[: dist.get_rank()])


def average_gradients(parameters: Iterable[nn.Parameter | Tensor]) -> None:
    """Replace each gradient by its mean over the processes: one flat bucket per dtype, one
    all-reduce each.

    A gradient that is None here but not on every process counts as zeros; where it is None
    everywhere it stays None.
    """
    if world_size() == 1:
        return
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for bucket in by_dtype.values():
        _average_bucket(bucket)


def broadcast_state(module: nn.Module) -> None:
    """Give every process the parameters and buffers of rank 0."""
    if world_size() == 1:
        return
    for tensor in (*module.parameters(), *module.buffers()):
        values = tensor.detach().contiguous()  # convolutions may lie in NHWC order
        dist.broadcast(values, src=0)
        with torch.no_grad():
            tensor.copy_(values)


def gather_on_first(value: Any) -> list[Any]:
    """Every process' `value`, plain data and tensors on the CPU, in rank order on rank 0; elsewhere
    an empty list."""
    if world_size() == 1:
        return [value]
    gathered = [None] * world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, gathered, dst=0)
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
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return all_reduce(grads[0]).split(ctx.counts)[dist.get_rank()], None


def all_reduce(x: Tensor) -> Tensor:
    """The sum of all processes' `x`, without gradient; in a single process, `x`."""
    if world_size() == 1:
        return x
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def _row_counts(x: Tensor) -> list[int]:
    counts = [torch.empty(1, dtype=torch.int64, device=x.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    return torch.cat(counts).tolist()


@torch.no_grad()
def _average_bucket(parameters: list[Tensor]) -> None:
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    present = grads[0].new_tensor([p.grad is not None for p in parameters])
    flat = torch.cat([*(grad.reshape(-1) for grad in grads), present])
    dist.all_reduce(flat)
    *means, present = flat.div_(world_size()).split([*(grad.numel() for grad in grads), len(grads)])
    for position, (parameter, grad, mean) in enumerate(zip(parameters, grads, means, strict=True)):
        # Asking for `present` waits for the device, so only where there is a doubt.
        if parameter.grad is not None or present[position] > 0:
            parameter.grad = grad.copy_(mean.view_as(grad))
