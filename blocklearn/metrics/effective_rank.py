"""Effective rank: how many directions the variance of features is spread over."""

import torch
from torch import Tensor

from blocklearn.metrics.spectrum import covariance_spectrum


def effective_rank(features: Tensor) -> float:
    """`exp(-sum p log p)` with `p = l / sum(l)` and `l` the eigenvalues of the covariance of
    features `(N, D)` (Roy and Vetterli 2007, taken of the covariance): between 1 (all variance on
    one line; constant features too) and `min(N - 1, D)`.

    Not RankMe, which takes singular values, the roots of these, of features that are not centred:
    on the same features this one is lower.

    Raises:
        ValueError: for fewer than 2 rows.
    """
    values = covariance_spectrum(features)
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return float(torch.special.entr(share).sum().exp())
