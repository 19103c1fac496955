"""The contract of a criterion: two views' embeddings to a loss."""

from typing import NamedTuple

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
