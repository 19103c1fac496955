"""CKA over batches, for more samples than a kernel matrix of all of them allows."""

import torch
from torch import Tensor


class MinibatchCKA:
    """Linear CKA from batches (arXiv 2010.15327, eq. 2 and 3): the unbiased estimator HSIC_1 of
    every batch for (x, y), (x, x) and (y, y), each averaged over the batches, and only then the
    ratio. A mean of the batches' ratios is another, biased quantity. 1: the same up to rotation
    and one factor; around 0: nothing in common, slightly below 0 too.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64)

    def update(self, x: Tensor, y: Tensor) -> None:
        """One batch.

        Args:
            x: `(n, D1)`, `n >= 4`.
            y: `(n, D2)`, of the same samples.

        Raises:
            ValueError: for fewer rows, or different numbers of them.
        """
        if len(x) != len(y):
            raise ValueError(f"CKA compares the same samples, got {len(x)} and {len(y)} rows")
        k, other = _kernel(x), _kernel(y)
        parts = [hsic1(k, other), hsic1(k, k), hsic1(other, other)]
        self._sums += torch.stack(parts).cpu()

    def compute(self) -> float:
        """Of all batches so far; NaN where one of the two is constant, or before the first."""
        cross, own, other = self._sums.tolist()
        return cross / (own * other) ** 0.5 if own > 0 and other > 0 else float("nan")


def hsic1(k: Tensor, other: Tensor) -> Tensor:
    """The unbiased estimator of the Hilbert-Schmidt independence criterion (Song et al. 2012, eq.
    5) of two kernel matrices `(n, n)` with zero diagonals, `n >= 4`: a scalar.

    Raises:
        ValueError: for `n < 4`.
    """
    n = len(k)
    if n < 4:
        raise ValueError(f"HSIC_1 needs batches of at least 4 samples, got {n}")
    rows, others = k.sum(dim=0), other.sum(dim=0)
    first = (k * other).sum()
    second = rows.sum() * others.sum() / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (rows @ others)
    return (first + second - third) / (n * (n - 3))


def _kernel(x: Tensor) -> Tensor:
    x = x.double()
    return (x @ x.T).fill_diagonal_(0)
