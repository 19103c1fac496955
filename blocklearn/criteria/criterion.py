"""The contract of a criterion: the embeddings of all views to a loss."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn


class CriterionOutput(NamedTuple):
    """Scalar loss with graph, and detached scalars for the log."""

    loss: Tensor
    metrics: dict[str, Tensor]


class Criterion(nn.Module):
    """Subclass it and write `forward`. Every block has one of its own, built with the width of its
    embeddings.

    Args:
        width: components of an embedding, for a criterion with weights of its own.
    """

    num_views: int | None = 2  # that it compares; None for any number, from `fewest_views` on
    fewest_views: int = 1
    labels: Literal["none", "sample"] = "none"  # what it learns from besides the views

    def __init__(self, width: int | None = None) -> None:
        super().__init__()
        self.width = width

    def forward(self, z: Sequence[Tensor], label: Tensor | None = None) -> CriterionOutput:
        """The loss of the embeddings of all views, each `(B, D)`, of the same samples.

        Args:
            z: one embedding per view.
            label: `(B,)`, -1 where a sample has none.
        """
        raise NotImplementedError


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, in float32 where it has less: criteria square and sum, which bfloat16 cannot."""
    return x if x.dtype == torch.float64 else x.float()
