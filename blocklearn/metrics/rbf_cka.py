"""RBF CKA: how alike the neighbourhoods of the same samples are in two representations."""

import numpy as np
import torch
from torch import Tensor


def rbf_cka(x: Tensor, y: Tensor, fraction: float = 1.0) -> float:
    """Centred kernel alignment with Gaussian kernels (arXiv 1905.00414, eq. 3):
    `HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`, where `K = exp(-|x_i - x_j|^2 / (2 s^2))` and `s`
    is a fraction of the median distance between two samples, taken anew for `y`, so that the scale
    of neither matters. A small fraction looks at near neighbours only, a large one comes to
    linear CKA. 1: the same up to rotation, reflection and one factor; with few samples it comes
    out too high. NaN where one of them is constant, or most of its samples coincide. Memory holds
    two kernels `(N, N)`, float64.

    Args:
        x: `(N, D1)`.
        y: `(N, D2)`, of the same samples in the same order.
        fraction: of the median distance, > 0.

    Raises:
        ValueError: for different numbers of rows, fewer than 2 of them, or a fraction that is not
            positive.
    """
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(
            f"CKA compares the same samples, 2 or more, got {len(x)} and {len(y)} rows"
        )
    if not fraction > 0:
        raise ValueError(f"RBF CKA needs a fraction above 0, got {fraction}")
    k, other = (_centred(_kernel(features, fraction)) for features in (x, y))
    return float((k * other).sum() / (k.norm() * other.norm()))


def _kernel(x: Tensor, fraction: float) -> Tensor:
    x = x.double()
    x = x - x.mean(dim=0)  # the distances are the same, and lose fewer digits
    squares = x.square().sum(dim=1)
    distances = (squares + squares[:, None] - 2 * x @ x.T).clamp(min=0).fill_diagonal_(0)
    pairs = distances[tuple(torch.triu_indices(len(x), len(x), 1))]
    median = float(np.median(pairs.cpu().numpy()))  # torch's is the lower of two in the middle
    return (-distances / (2 * fraction**2 * median)).exp() if median else torch.ones_like(distances)


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(dim=0) - kernel.mean(dim=1, keepdim=True) + kernel.mean()
