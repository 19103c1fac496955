"""Noise on the features of a block, in training only."""

from typing import Literal

import torch
from torch import Tensor, nn

Spread = Literal["all"]


class Noise(nn.Module):
    """What is added to a block's output before its own objective and before the hand-over. Subclass it and write
    `forward`."""

    def forward(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Features in, noisy features of the same shape out. Every draw comes from `generator`."""
        raise NotImplementedError


class GaussianNoise(Noise):
    """`x + sigma * spread(x) * n` with `n ~ N(0, 1)` of `x`'s shape (arXiv 2302.01647, released code).

    The spread is a standard deviation and is not detached: gradients flow through it.

    Args:
        spread: `all`, one standard deviation over the whole tensor (the published setting).
        sigma: strength relative to the spread, >= 0; 0.25 published.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, spread: Spread = "all", sigma: float = 0.25) -> None:
        super().__init__()
        if sigma < 0 or spread != "all":
            raise ValueError(f"GaussianNoise needs sigma >= 0 and spread 'all', got sigma={sigma}, spread={spread!r}")
        self.spread = spread
        self.sigma = sigma

    def forward(self, features: Tensor, generator: torch.Generator) -> Tensor:
        draw = torch.randn(features.shape, generator=generator, device=features.device, dtype=features.dtype)
        return features + self.sigma * features.std() * draw

    def extra_repr(self) -> str:
        return f"spread={self.spread!r}, sigma={self.sigma}"


def build_noise(noise: Noise | Literal["none", "all"] | None) -> Noise | None:
    """`none` or None is no noise; the name of a spread is Gaussian noise of the published strength."""
    if noise is None or noise == "none":
        return None
    return GaussianNoise(noise) if isinstance(noise, str) else noise
