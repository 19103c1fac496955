"""Participation ratio: how many directions carry the variance of features."""

from torch import Tensor

from blocklearn.metrics.spectrum import covariance_spectrum


def participation_ratio(features: Tensor) -> float:
    """`sum(l)^2 / sum(l^2)` with `l` the eigenvalues of the covariance of features `(N, D)`:
    between 1 (all variance on one line) and `min(N - 1, D)`; never above `effective_rank`, of whose
    entropy it is the quadratic kin. NaN of constant features.

    Raises:
        ValueError: for fewer than 2 rows.
    """
    values = covariance_spectrum(features)
    return float(values.sum() ** 2 / values.square().sum())
