"""RankMe: how many dimensions a block's features use."""

import torch
from torch import Tensor

from blocklearn.metrics.kept_rows import RowMetric

EPS = 1e-7


class RankMe(RowMetric):
    """The effective rank of a block's features (arXiv 2210.02885, eq. 1): with the singular values
    `s` of the `(N, D)` matrix of features, which is not centered, and `p = s / sum(s) + eps`,
    `rankme = exp(-sum p log p)`, between 1 (collapse) and `min(N, D)`.

    A feature is the mean over the positions of the block's output in the first view, so `D` is the
    number of channels. `N` is the samples that were seen since the last time, over all processes
    among which a batch is divided; with fewer than `D` the rank says as much of `N` as of the
    features, so look at many batches.

    Args:
        every: batches from one that is looked at to the next, >= 1.
        samples: of the last ones at most, >= 2.

    Raises:
        ValueError: for a value out of range.
    """

    def measure(self, rows: Tensor) -> dict[str, Tensor]:
        return {"rankme": rank_me(rows)}


def rank_me(features: Tensor) -> Tensor:
    """RankMe of features `(N, D)`; a scalar."""
    values = torch.linalg.svdvals(features.double())
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + EPS
    return (-(share * share.log()).sum()).exp().float()
