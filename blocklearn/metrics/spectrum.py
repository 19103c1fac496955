"""The covariance spectrum of features, from which ranks and slopes are taken."""

import torch
from torch import Tensor


def covariance_spectrum(features: Tensor) -> Tensor:
    """The eigenvalues of the covariance (divided by `N - 1`) of features `(N, D)`, largest first:
    `(min(N, D),)`, float64, none below 0. Features are centred. The eigenvalues that are left out
    where `N < D` are 0.

    Raises:
        ValueError: for fewer than 2 rows.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 rows, got {len(features)}")
    centred = features.double() - features.double().mean(dim=0)
    wide = centred.shape[0] < centred.shape[1]
    square = centred @ centred.T if wide else centred.T @ centred
    values = torch.linalg.eigvalsh(square / (len(centred) - 1))
    return values.flip(0).clamp(min=0)
