"""The standard deviation of features: the plainest sign of collapse."""

from torch import Tensor
from torch.nn.functional import normalize

from blocklearn.metrics.kept_rows import RowMetric


def feature_std(features: Tensor, unit_rows: bool = True) -> float:
    """The mean over the dimensions of the standard deviation (divided by `N - 1`) of features
    `(N, D)`. 0: every sample is the same.

    Args:
        features: one row a sample.
        unit_rows: bring every row to length 1 and multiply the result by `sqrt(D)` (as in arXiv
            2011.10566, fig. 2), so that the scale of the features does not matter: 1 where they
            point in all directions alike, and at most `sqrt(N / (N - 1))`. Otherwise features are
            taken as they are, and it has no upper bound.

    Raises:
        ValueError: for fewer than 2 rows.
    """
    if len(features) < 2:
        raise ValueError(f"a standard deviation needs at least 2 rows, got {len(features)}")
    x = features.double()
    if unit_rows:
        x = normalize(x, dim=1) * x.shape[1] ** 0.5
    return float(x.std(dim=0).mean())


class FeatureStd(RowMetric):
    """`feature_std` of a block's output in the first view, averaged over its positions: of unit
    rows. Means over channels behind a ReLU are all positive, so that they point into one corner:
    what is healthy there lies well below 1.

    Over several processes the samples are those of all.

    Args:
        every: batches from one that is looked at to the next, >= 1.
        samples: the last ones at most, >= 2.

    Raises:
        ValueError: for a value out of range.
    """

    def measure(self, rows: Tensor) -> dict[str, float]:
        return {"feature_std": feature_std(rows)} if len(rows) > 1 else {}
