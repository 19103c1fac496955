"""Noise on the features of a block, in training only."""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError

Spread = Literal["all", "hw", "height", "channel"]
AXES = {  # over which a spread is taken; None for all
    "NCHW": {"all": None, "hw": (2, 3), "height": 2, "channel": 1},
    "NHWC": {"all": None, "hw": (1, 2), "height": 1, "channel": 3},
    "NLC": {"all": None, "hw": 1, "channel": 2},
    "NCL": {"all": None, "hw": 2, "channel": 1},
}


class Noise(nn.Module):
    """What is added to a block's output before its own objective and before the hand-over. Subclass
    it and write `forward`."""

    def forward(self, features: Tensor, generator: torch.Generator, spec: StageSpec) -> Tensor:
        """Features in, noisy features of the same shape out.

        Args:
            features: of the block's last stage, in its layout.
            generator: every draw comes from it.
            spec: of that stage.
        """
        raise NotImplementedError

    def require(self, spec: StageSpec) -> None:
        """Raise a `UserError` for a stage whose features it cannot be added to; asked before
        training. By default any will do."""


class GaussianNoise(Noise):
    """`x + sigma * spread(x) * n` with `n ~ N(0, 1)` of `x`'s shape (arXiv 2302.01647, released
    code).

    The spread is a standard deviation and is not detached: gradients flow through it.

    Args:
        spread: where the standard deviation is taken, for `x` of shape `(B, C, H, W)`.
            `all`: one over the whole tensor of this process (the published setting).
            `hw`: one a sample and channel, over height and width, or over time.
            `height`: one a sample, channel and column, over the height; the released code calls it
                `c`.
            `channel`: one a sample and position, over the channels; what `c` promises, and not in
                the released code.
        sigma: strength relative to the spread, >= 0; 0.25 published.

    Raises:
        ValueError: for a value out of range, or not finite.
    """

    def __init__(self, spread: Spread = "all", sigma: float = 0.25) -> None:
        super().__init__()
        if not 0 <= sigma < math.inf or spread not in get_args(Spread):
            raise ValueError(
                "GaussianNoise needs a finite sigma >= 0 and a spread of "
                f"{', '.join(get_args(Spread))}, got sigma={sigma}, spread={spread!r}"
            )
        self.spread = spread
        self.sigma = sigma

    def forward(self, features: Tensor, generator: torch.Generator, spec: StageSpec) -> Tensor:
        self.require(spec)
        axes = AXES[spec.layout][self.spread]
        return _Noisy.apply(features, axes, self.sigma, generator)

    def require(self, spec: StageSpec) -> None:
        if self.spread not in AXES[spec.layout]:
            raise UserError(
                f"noise: {spec.name} hands on tokens or sound, which have no {self.spread}; take "
                "all, hw or channel"
            )

    def extra_repr(self) -> str:
        return f"spread={self.spread!r}, sigma={self.sigma}"


class _Noisy(torch.autograd.Function):
    """`x + sigma * std(x) * n`, and its exact gradient, drawing `n` again instead of keeping a map
    of it: with `g` the output's gradient, `dx = g + sigma * sum(g n) * (x - mean(x)) / ((N - 1) *
    std(x))`, sums over the spread's axes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        axes: tuple[int, ...] | int | None,
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
        pull = torch.where(
            spread > 0, ctx.sigma * along / (freedom * spread), 0
        )  # as torch.std has it for constants
        return torch.addcmul(grad, x, pull).sub_(pull * mean), None, None, None


def _draw(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


NoiseChoice = Noise | Literal["none", "all", "hw", "height", "channel"] | None


def build_noise(noise: NoiseChoice) -> Noise | None:
    """`none` or None is no noise; the name of a spread is Gaussian noise of the published
    strength."""
    if noise is None or noise == "none":
        return None
    return GaussianNoise(noise) if isinstance(noise, str) else noise
