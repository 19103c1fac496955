"""A teacher: the moving average of a module."""

import copy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of a module whose weights follow the original's: `w <- momentum w + (1 - momentum) v`
    (arXiv 2006.07733, eq. 1). It gets no gradient and its weights belong to no optimizer. Running
    statistics of norms are the copy's own.

    Args:
        module: what is followed; it is not kept.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *args: Tensor) -> Tensor:
        return self.module(*args)

    @torch.no_grad()
    def follow(self, module: nn.Module, momentum: float) -> None:
        """Move towards the weights of `module`; all the way under momentum 0."""
        pairs = list(zip(self.module.parameters(), module.parameters(), strict=True))
        for own, other in pairs:
            own.lerp_(other.detach().to(own.dtype), 1 - momentum)

    @torch.no_grad()
    def begin_as(self, module: nn.Module) -> None:
        """Take over all weights and running statistics of `module`."""
        self.module.load_state_dict(module.state_dict())
