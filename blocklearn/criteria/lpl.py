"""The criterion of latent predictive learning."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from blocklearn.criteria.criterion import Criterion, CriterionOutput, at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.distributed.moments import global_moments


class LPL(Criterion):
    """Predict the other view, keep the variance and take correlations out: latent predictive
    learning (Halvagal and Zenke, Nature Neuroscience 2023).

    For views `z1`, `z2` of `B` samples in `M` units, with the covariance `C` of a view (divided by
    `B - 1`) around its mean, which is a constant to the gradient:
    `loss = prediction * p + hebbian * mean(h(z1), h(z2)) + decorrelation * mean(d(z1), d(z2))` with

    - `p = mean (z1 - z2)^2`;
    - `h = mean_i -log(C_ii + eps)`;
    - `d = sum_{i != k} C_ik^2 / (M^2 - M)`: the authors' erratum and code; eq. 6 in print is wrong.

    Metrics:
        prediction_error: `p`. 0: the views agree.
        std: mean standard deviation of a unit. 0: collapse.
        covariance: `d`, mean of both views. 0: no redundancy.

    Over several processes means and covariances are those of the whole batch.

    Args:
        width: of the embeddings; it does not matter here.
        prediction: weight, >= 0; 1 published.
        hebbian: weight, >= 0; 1 published.
        decorrelation: weight, >= 0; 10 published.
        eps: added to the variance, > 0; 1e-4 published.

    Raises:
        ValueError: for a value out of range, or not finite.
    """

    def __init__(
        self,
        width: int | None = None,
        prediction: float = 1.0,
        hebbian: float = 1.0,
        decorrelation: float = 10.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__(width)
        weights = (prediction, hebbian, decorrelation)
        sound = all(0 <= weight < math.inf for weight in weights) and any(weights)
        if not (sound and 0 < eps < math.inf):
            raise ValueError(
                "LPL needs prediction, hebbian, decorrelation >= 0, not all 0, and eps > 0, all "
                f"finite, got {prediction}, {hebbian}, {decorrelation}, {eps}"
            )
        self.prediction, self.hebbian, self.decorrelation = weights
        self.eps = eps

    def forward(self, z: Sequence[Tensor], label: Tensor | None = None) -> CriterionOutput:
        """`(B, M)` and `(B, M)`, `B` >= 2, to a scalar. Computed in float32 at least, whatever the
        autocast."""
        with torch.autocast(z[0].device.type, enabled=False):
            z1, z2 = (at_least_float32(view) for view in z)
            variances, redundancies, counts = zip(*map(_spread, (z1, z2)), strict=True)
            variance, redundancy = torch.stack(variances), torch.stack(redundancies).mean()
            error = sum_over_processes((z1 - z2).square().sum()) / (counts[0] * z1.shape[1])
            hebbian = -(variance + self.eps).log().mean()
            loss = self.prediction * error + self.hebbian * hebbian
            loss = loss + self.decorrelation * redundancy
        metrics = {
            "prediction_error": error.detach(),
            "std": variance.detach().sqrt().mean(),
            "covariance": redundancy.detach(),
        }
        return CriterionOutput(loss, metrics)

    def extra_repr(self) -> str:
        return (
            f"prediction={self.prediction}, hebbian={self.hebbian}, "
            f"decorrelation={self.decorrelation}"
        )


def _spread(z: Tensor) -> tuple[Tensor, Tensor, int | Tensor]:
    """Unbiased variances `(M,)`, the mean square of the covariances, and the number of samples."""
    mean, _, count = global_moments(z.detach())
    centred = z - mean
    covariance = sum_over_processes(centred.T @ centred) / (count - 1)
    variance = covariance.diagonal()
    width = len(variance)
    off_diagonal = covariance - torch.diag(variance)
    return variance, off_diagonal.square().sum() / max(width * width - width, 1), count
