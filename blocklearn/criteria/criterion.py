"""The contract of a criterion: two views' embeddings to a loss."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class CriterionOutput(NamedTuple):
    """Scalar loss with graph, and detached scalars for the log."""

    loss: Tensor
    metrics: dict[str, Tensor]


class Criterion(nn.Module):
    """Subclass it and write `forward`."""

    def forward(self, z1: Tensor, z2: Tensor) -> CriterionOutput:
        """Embeddings of the two views of the same samples, each `(B, D)`."""
        raise NotImplementedError


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, in float32 where it has less: criteria square and sum, which bfloat16 cannot."""
    return x if x.dtype == torch.float64 else x.float()
