"""Noise on the features of a block, in training only."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError
from blocklearn.kernels.redrawn_noise import redrawn_noise

Spread = Literal["all", "hw", "height", "channel"]


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
            `hw`: one per sample and channel, over height and width, or over time.
            `height`: one per sample, channel and column, over the height; the released code calls
                it `c`.
            `channel`: one per sample and position, over the channels; what `c` promises, and not in
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
        axes = spec.layout.spreads[self.spread]
        return redrawn_noise(features, axes, self.sigma, generator)

    def require(self, spec: StageSpec) -> None:
        if self.spread not in spec.layout.spreads:
            raise UserError(
                f"noise: {spec.name} hands on tokens or sound, which have no {self.spread}; take "
                "all, hw or channel"
            )

    def extra_repr(self) -> str:
        return f"spread={self.spread!r}, sigma={self.sigma}"


NoiseChoice = Noise | Literal["none", "all", "hw", "height", "channel"] | None


def build_noise(noise: NoiseChoice) -> Noise | None:
    """`none` or None is no noise; the name of a spread is Gaussian noise of the published
    strength."""
    if noise is None or noise == "none":
        return None
    return GaussianNoise(noise) if isinstance(noise, str) else noise
