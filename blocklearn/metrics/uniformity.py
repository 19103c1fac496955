"""Uniformity: how evenly features lie on the sphere."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, pdist

from blocklearn.metrics.kept_rows import RowMetric


def uniformity(features: Tensor, pairs: int = 500_000, seed: int = 0) -> float:
    """`log mean exp(-2 |x_i - x_j|^2)` over pairs of rows of unit length (arXiv 2005.10242, t = 2):
    between 0 (all the same: collapse) and -8; about -4 on an even sphere of many dimensions. Low is
    good.

    Args:
        features: `(N, D)`; brought to unit length here.
        pairs: where there are more pairs `i < j` than this, so many are drawn, with replacement.
        seed: of the drawing.

    Raises:
        ValueError: for fewer than 2 rows or 1 pair.
    """
    n = len(features)
    if n < 2 or pairs < 1:
        raise ValueError(f"uniformity needs at least 2 rows and a pair, got {n} and {pairs}")
    x = normalize(features.double().cpu(), dim=1)
    if n * (n - 1) // 2 <= pairs:
        squares = pdist(x).pow(2)
    else:
        generator = torch.Generator().manual_seed(seed)
        one = torch.randint(n, (pairs,), generator=generator)
        other = torch.randint(n - 1, (pairs,), generator=generator)
        other += other >= one
        cosine = torch.cat(
            [(x[i] * x[j]).sum(1) for i, j in zip(one.split(4096), other.split(4096), strict=True)]
        )
        squares = 2 - 2 * cosine
    return float((-2 * squares).exp().mean().log())


class Uniformity(RowMetric):
    """`uniformity` of a block's output in the first view, averaged over its positions. Over several
    processes the samples are those of all.

    Args:
        every: batches from one that is looked at to the next, >= 1.
        samples: the last ones at most, >= 2.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, every: int = 1, samples: int = 512) -> None:
        super().__init__(every, samples)

    def measure(self, rows: Tensor) -> dict[str, float]:
        return {"uniformity": uniformity(rows)} if len(rows) > 1 else {}
