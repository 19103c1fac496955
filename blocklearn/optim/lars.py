"""LARS: layer-wise adaptive rate scaling (arXiv 1708.03888), as Barlow Twins uses it."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

PIECE = 2**16  # numbers that stay in a core's cache from one operation on them to the next: weight, gradient, momentum


class LARS(Optimizer):
    """SGD with momentum whose step is rescaled, weight by weight, to the weight's own norm.

    For a weight `w` with gradient `g`: `g <- g + weight_decay * w`, `g <- g * eta * |w| / |g|`,
    `m <- momentum * m + g`, `w <- w - lr * m`. Where `|w|` or `|g|` is 0 the factor is 1. Parameters with one dimension
    (biases, BatchNorm) get neither decay nor rescaling. The recipe of arXiv 2103.03230 and 2302.01647.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, > 0.
        momentum: in [0, 1).
        eta: trust coefficient, > 0; 0.001 in Barlow Twins, 0.02 in solo-learn's CIFAR recipes.
        weight_decay: >= 0.

    Raises:
        ValueError: for a value out of range.

    On a GPU all tensors of a group move together in `torch._foreach_*` calls, and nothing waits for the device. On a CPU
    large ones move in pieces and small ones in buckets that fit the cache, so that memory is passed over twice.
    `tests/optim/test_lars.py` holds the plain loop.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.2,
        momentum: float = 0.9,
        eta: float = 0.001,
        weight_decay: float = 1e-6,
    ) -> None:
        if lr <= 0 or eta <= 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(
                "LARS needs lr > 0, eta > 0, weight_decay >= 0 and 0 <= momentum < 1, "
                f"got lr={lr}, eta={eta}, weight_decay={weight_decay}, momentum={momentum}"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "eta": eta, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for adapt in (True, False):
                own = [p for p in params if (p.ndim > 1) == adapt]
                if not all(p.is_cpu for p in own):
                    self._step_together(own, group, adapt)
                    continue
                for bucket in _buckets([p for p in own if p.numel() <= PIECE or not adapt]):
                    self._step_together(bucket, group, adapt)
                for param in (p for p in own if p.numel() > PIECE and adapt):
                    self._step_in_pieces(param, group)
        return loss

    def _step_in_pieces(self, param: Tensor, group: dict[str, Any]) -> None:
        pieces = _pieces(param, param.grad, self._momentum_of(param))  # pyright: ignore[reportArgumentType]
        decay, scratch = group["weight_decay"], torch.empty_like(pieces[0][0])
        norms: list[tuple[Tensor, Tensor]] = []
        for p, g, _ in pieces:
            update = torch.add(g, p, alpha=decay, out=scratch[: len(p)])
            norms.append((torch.linalg.vector_norm(p), torch.linalg.vector_norm(update)))
        weight_norm, update_norm = (math.hypot(*map(float, each)) for each in zip(*norms, strict=True))
        factor = group["eta"] * weight_norm / update_norm if weight_norm > 0 and update_norm > 0 else 1.0
        for p, g, momentum in pieces:
            update = torch.add(g, p, alpha=decay, out=scratch[: len(p)])
            momentum.mul_(group["momentum"]).add_(update, alpha=factor)
            p.add_(momentum, alpha=-group["lr"])

    def _step_together(self, params: list[Tensor], group: dict[str, Any], adapt: bool) -> None:
        if not params:
            return
        updates = [p.grad for p in params if p.grad is not None]
        if adapt:
            updates = list(torch._foreach_add(updates, params, alpha=group["weight_decay"]))
            torch._foreach_mul_(updates, self._trust_ratios(params, updates, group["eta"]))
        momenta = [self._momentum_of(p) for p in params]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, updates)
        torch._foreach_add_(params, momenta, alpha=-group["lr"])

    @staticmethod
    def _trust_ratios(params: list[Tensor], updates: list[Tensor], eta: float) -> list[Tensor]:
        weight_norms = torch.stack(torch._foreach_norm(params))
        update_norms = torch.stack(torch._foreach_norm(updates))
        ratios = eta * weight_norms / update_norms
        usable = (weight_norms > 0) & (update_norms > 0)
        return list(torch.where(usable, ratios, torch.ones_like(ratios)).unbind())

    def _momentum_of(self, param: Tensor) -> Tensor:
        state = self.state[param]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(param)
        return state["momentum_buffer"]


def _buckets(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """In order, with `PIECE` numbers or one tensor each."""
    bucket: list[Tensor] = []
    numbers = 0
    for param in params:
        if bucket and numbers + param.numel() > PIECE:
            yield bucket
            bucket, numbers = [], 0
        bucket.append(param)
        numbers += param.numel()
    if bucket:
        yield bucket


def _pieces(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of the same numbers of each tensor, at most `PIECE` of them, in the order in which they lie in memory; the
    tensors themselves where they lie in different orders."""
    order = sorted(range(tensors[0].ndim), key=tensors[0].stride, reverse=True)
    in_order = [tensor.permute(order) for tensor in tensors]
    if not all(tensor.is_contiguous() for tensor in in_order):
        return [tensors]
    return list(zip(*(tensor.view(-1).split(PIECE) for tensor in in_order), strict=True))
