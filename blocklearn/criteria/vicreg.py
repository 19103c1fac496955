"""The VICReg criterion."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from blocklearn.criteria.criterion import Criterion, CriterionOutput, at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.distributed.moments import global_moments
from blocklearn.kernels.product_norm import (
    Form,
    chooses_gram,
    require_form,
    squared_norm_of_product,
)


class VICReg(Criterion):
    """Bring the views together while every dimension keeps its variance and none repeats another
    (arXiv 2105.04906).

    For views `z1`, `z2` of `B` samples in `D` dimensions, eq. 6:
    `loss = invariance * s(z1, z2) + variance * (v(z1) + v(z2)) + covariance * (c(z1) + c(z2))` with

    - `s = sum (z1 - z2)^2 / (B D)`: eq. 5 divided by `D`, the mean squared error of the paper's
      algorithm 1;
    - `v = mean_j max(0, gamma - sqrt(Var_j + eps))`, eq. 1 and 2, with the unbiased variance;
    - `c = sum_{i != j} C_ij^2 / D`, eq. 3 and 4, with the unbiased covariance `C`.

    The released code takes the mean of the two `v`, not their sum: `variance=12.5` gives its
    numbers.

    Metrics:
        invariance: `s`. 0: the views agree.
        std: mean standard deviation of a dimension. At `gamma` and above is good; 0: collapse.
        covariance: `c(z1) + c(z2)`. 0: no redundancy.

    Over several processes `B` is the whole batch: the loss and its gradient are those of all
    samples.

    Args:
        width: of the embeddings; it does not matter here.
        invariance: weight of `s`, >= 0.
        variance: weight of `v`, >= 0.
        covariance: weight of `c`, >= 0; one of the three must be above 0.
        gamma: standard deviation to reach, > 0.
        eps: added to the variance, > 0.
        form: how the squares of `C` are summed. `matrix`: `C` is made. `gram`: it is not, their sum
            is `|z z^T|^2 / (B - 1)^2` with `z` centred (`kernels/product_norm.py`). `auto`: `gram`
            where `B < D`. Value and gradient are the same to rounding.

    Raises:
        ValueError: for a value out of range, or not finite.
    """

    def __init__(
        self,
        width: int | None = None,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        gamma: float = 1.0,
        eps: float = 1e-4,
        form: Form = "auto",
    ) -> None:
        super().__init__(width)
        weights = (invariance, variance, covariance)
        sound = all(0 <= weight < math.inf for weight in weights) and any(weights)
        if not (sound and 0 < gamma < math.inf and 0 < eps < math.inf):
            raise ValueError(
                "VICReg needs invariance, variance, covariance >= 0, not all 0, and gamma, eps > "
                f"0, all finite, got {invariance}, {variance}, {covariance}, {gamma}, {eps}"
            )
        require_form(form, "VICReg")
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance
        self.gamma = gamma
        self.eps = eps
        self.form: Form = form

    def forward(self, z: Sequence[Tensor], label: Tensor | None = None) -> CriterionOutput:
        """`(B, D)` and `(B, D)`, `B` >= 2, to a scalar. Computed in float32 at least, whatever the
        autocast."""
        z1, z2 = z
        with torch.autocast(z1.device.type, enabled=False):
            z1, z2 = at_least_float32(z1), at_least_float32(z2)
            (std1, covariance1, count), (std2, covariance2, _) = self._spread(z1), self._spread(z2)
            distance = sum_over_processes((z1 - z2).square().sum()) / (count * z1.shape[1])
            hinge = (self.gamma - std1).relu().mean() + (self.gamma - std2).relu().mean()
            redundancy = covariance1 + covariance2
            loss = self.invariance * distance + self.variance * hinge + self.covariance * redundancy
        std = torch.cat([std1, std2]).detach().mean()
        metrics = {"invariance": distance.detach(), "std": std, "covariance": redundancy.detach()}
        return CriterionOutput(loss, metrics)

    def _spread(self, z: Tensor) -> tuple[Tensor, Tensor, int | Tensor]:
        """Standard deviations `(D,)`, the covariance term `c`, and the number of samples."""
        mean, variance, count = global_moments(z)
        unbiased = variance * count / (count - 1)
        std = (unbiased + self.eps).sqrt()
        centred = z - mean
        even = self.training  # outside training the processes' shares may be uneven
        if chooses_gram(self.form, z, count, even):
            squares = squared_norm_of_product(centred, centred, even)
        else:
            squares = sum_over_processes(centred.T @ centred).square().sum()
        off_diagonal = squares / (count - 1) ** 2 - unbiased.square().sum()
        return std, off_diagonal / z.shape[1], count

    def extra_repr(self) -> str:
        return (
            f"invariance={self.invariance}, variance={self.variance}, covariance={self.covariance}"
        )
