"""Gaussian noise that is drawn again in the backward pass rather than kept."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Axes = tuple[int, ...] | int | None


def redrawn_noise(x: Tensor, axes: Axes, sigma: float, generator: torch.Generator) -> Tensor:
    """`x + sigma * std(x) * n` with `n ~ N(0, 1)` of the shape of `x`.

    Args:
        x: any shape.
        axes: over which the standard deviation is taken; None for all.
        sigma: relative strength, >= 0.
        generator: of the draws.
    """
    return _Noisy.apply(x, axes, sigma, generator)  # pyright: ignore[reportReturnType]


class _Noisy(torch.autograd.Function):
    """`x + sigma * std(x) * n`, and its exact gradient, drawing `n` again instead of keeping a map
    of it: with `g` the output's gradient, `dx = g + sigma * sum(g n) * (x - mean(x)) / ((N - 1) *
    std(x))`, sums over the spread's axes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        axes: Axes,
        sigma: float,
        generator: torch.Generator,
    ) -> Tensor:
        ctx.axes, ctx.sigma, ctx.state = axes, sigma, generator.get_state()
        ctx.save_for_backward(x)
        return _draw(x, generator).mul_(sigma * x.std(dim=axes, keepdim=True)).add_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,), (grad,) = ctx.saved_tensors, grads
        spread, mean = torch.std_mean(x, dim=ctx.axes, keepdim=True)
        generator = torch.Generator(x.device)
        generator.set_state(ctx.state)
        along = _draw(x, generator).mul_(grad).sum(ctx.axes, keepdim=True)
        freedom = x.numel() / spread.numel() - 1
        # as torch.std has it for constants
        pull = torch.where(spread > 0, ctx.sigma * along / (freedom * spread), 0)
        return torch.addcmul(grad, x, pull).sub_(pull * mean), None, None, None


def _draw(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
