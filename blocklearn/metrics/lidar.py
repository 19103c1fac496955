"""LiDAR: the rank of what tells samples apart, measured against what tells views apart."""

import torch
from torch import Tensor


def lidar(features: Tensor, sample: Tensor, delta: float = 1e-4, eps: float = 1e-8) -> float:
    """The effective rank of linear discriminant analysis with every sample a class of its own
    (arXiv 2312.04000): with `S_b` the covariance of the samples' means (divided by `n - 1`),
    `S_w` that of the views around their sample's mean (divided by their number less `n`) plus
    `delta I`, and `l` the eigenvalues of `S_w^-1/2 S_b S_w^-1/2`, it is `exp(-sum p log p)` with
    `p = (l + eps) / sum(l)`: between 1 and `min(D, n - 1)`; high is good. Samples are told apart
    by their number, so the order of the rows does not matter. 1 where all samples are the same.

    Args:
        features: `(N, D)`, a row for every view.
        sample: `(N,)`, of which sample each is a view.
        delta: added to the diagonal of `S_w`, > 0; 1e-4 published.
        eps: added to the eigenvalues, >= 0; 1e-8 published.

    Raises:
        ValueError: for fewer than 2 samples, or where none has two views.
    """
    x = features.double()
    names, place, counts = sample.unique(return_inverse=True, return_counts=True)
    n, width = len(names), x.shape[1]
    if n < 2 or len(x) == n:
        raise ValueError(
            f"LiDAR needs at least 2 samples and several views of them, got {n} samples in "
            f"{len(x)} views"
        )
    means = x.new_zeros(n, width).index_add(0, place, x) / counts[:, None].double()
    apart = x - means[place]
    within = apart.T @ apart / (len(x) - n) + delta * torch.eye(width).to(x)
    between = (means - means.mean(dim=0)) / (n - 1) ** 0.5
    # the eigenvalues that are not 0 are those of `between S_w^-1 between^T`, as large as fits
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(within), between.T, upper=False)
    square = half.T @ half if n < width else half @ half.T
    values = torch.linalg.eigvalsh(square).clamp(min=0)
    values = torch.cat([values, values.new_zeros(width - len(values))])
    if float(values.sum()) <= torch.finfo(values.dtype).eps:
        return 1.0
    share = (values + eps) / values.sum()
    return float(torch.special.entr(share).sum().exp())
