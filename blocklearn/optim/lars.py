"""LARS: layer-wise adaptive rate scaling (arXiv 1708.03888), as Barlow Twins uses it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LARS(Optimizer):
    """SGD with momentum whose step is rescaled, weight by weight, to the weight's own norm.

    For a weight `w` with gradient `g`: `g <- g + weight_decay * w`, `g <- g * eta * |w| / |g|`,
    `m <- momentum * m + g`, `w <- w - lr * m`. Where `|w|` or `|g|` is 0 the factor is 1.
    Parameters with one dimension (biases, BatchNorm) get neither decay nor rescaling. The recipe of
    arXiv 2103.03230 and 2302.01647.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, > 0.
        momentum: in [0, 1).
        eta: trust coefficient, > 0; 0.001 in Barlow Twins, 0.02 in solo-learn's CIFAR recipes.
        weight_decay: >= 0.

    Raises:
        ValueError: for a value out of range, or not finite.

    On a CPU each weight takes PyTorch's fused kernel of SGD, whose `1 - dampening` is the factor on
    the gradient, so memory is passed over once behind the norms. Elsewhere all tensors of a group
    move together in `torch._foreach_*` calls, and nothing waits for the device.
    `benchmarks/lars.py` holds the plain loop.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.2,
        momentum: float = 0.9,
        eta: float = 0.001,
        weight_decay: float = 1e-6,
    ) -> None:
        positive = all(0 < value < math.inf for value in (lr, eta))
        if not (positive and 0 <= weight_decay < math.inf and 0 <= momentum < 1):
            raise ValueError(
                "LARS needs lr > 0, eta > 0, weight_decay >= 0 and 0 <= momentum < 1, all finite, "
                f"got lr={lr}, eta={eta}, weight_decay={weight_decay}, momentum={momentum}"
            )
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "eta": eta, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            weights, others = (
                [p for p in params if (p.ndim > 1) == weight] for weight in (True, False)
            )
            if all(p.is_cpu for p in params):
                for p in weights:
                    self._step_fused([p], group, group["weight_decay"], self._trust_ratio(p, group))
                self._step_fused(others, group, 0.0, 1.0)
            else:
                self._step_together(weights, group, adapt=True)
                self._step_together(others, group, adapt=False)
        return loss

    def _step_fused(
        self, params: list[Tensor], group: dict[str, Any], decay: float, ratio: float
    ) -> None:
        if not params:
            return
        torch._fused_sgd_(
            params,
            [_as_laid_out(p) for p in params],
            [self._momentum_of(p) for p in params],
            weight_decay=decay,
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=1 - ratio,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )

    @staticmethod
    def _trust_ratio(param: Tensor, group: dict[str, Any]) -> float:
        assert param.grad is not None
        update = torch.add(param.grad, param, alpha=group["weight_decay"])
        weight_norm, update_norm = (
            float(torch.linalg.vector_norm(tensor)) for tensor in (param, update)
        )
        return (
            group["eta"] * weight_norm / update_norm if weight_norm > 0 and update_norm > 0 else 1.0
        )

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


def _as_laid_out(param: Tensor) -> Tensor:
    """Its gradient in the same order in memory, which the fused kernel takes for granted."""
    assert param.grad is not None
    same = param.grad.stride() == param.stride()
    return param.grad if same else torch.empty_like(param).copy_(param.grad)
