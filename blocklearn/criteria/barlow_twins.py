"""The Barlow Twins criterion."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from blocklearn.criteria.criterion import Criterion, CriterionOutput, at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.distributed.moments import Moments, global_moments
from blocklearn.kernels.product_norm import (
    Form,
    chooses_gram,
    require_form,
    squared_norm_of_product,
)


class BarlowTwins(Criterion):
    """Drive the cross-correlation of two views' embeddings to the identity (arXiv 2103.03230, eq.
    1).

    With `z` standardised per dimension over the batch and `c = z1^T z2 / B`, a `(D, D)` matrix:
    `loss = scale * (sum_i (c_ii - 1)^2 + lambd * sum_{i != j} c_ij^2)`.

    Metrics, means over the matrix so that they do not depend on the width:
        on_diag: mean of `(c_ii - 1)^2`. 0: the views agree; 1: they have nothing in common.
        off_diag: mean of `c_ij^2`, `i != j`. 0: no redundancy; 1: every dimension says the same
            (collapse). Independent noise sits at `1 / B`.

    Over several processes `B` is the whole batch: statistics and `c` are those of all samples, and
    so is the gradient.

    Args:
        width: of the embeddings; it does not matter here.
        lambd: weight of the off-diagonal term, >= 0.
        scale: factor on the loss, > 0; with an optimizer that adapts to the gradient's norm it
            changes little.
        eps: added to the variance, >= 0.
        published_gradient: over several processes, sum `c` behind autograd's back, as the released
            codes of arXiv 2103.03230 and 2302.01647 do: a process' gradient flows through its own
            summand alone, so the averaged gradient is the true one divided by the number of
            processes. It changes nothing in a single process.
        form: how the squares of `c` are summed. `matrix`: `c` is made. `gram`: it is not, their sum
            is `<z1 z1^T, z2 z2^T> / B^2` (`kernels/product_norm.py`). `auto`: `gram` where `B < D`.
            Value and gradient are the same to rounding.

    Raises:
        ValueError: for a value out of range, or not finite.

    Defaults are the published ones of arXiv 2302.01647.
    """

    def __init__(
        self,
        width: int | None = None,
        lambd: float = 0.0051,
        scale: float = 0.024,
        eps: float = 1e-5,
        published_gradient: bool = False,
        form: Form = "auto",
    ) -> None:
        super().__init__(width)
        if not (0 <= lambd < math.inf and 0 < scale < math.inf and 0 <= eps < math.inf):
            raise ValueError(
                "BarlowTwins needs lambd >= 0, scale > 0 and eps >= 0, all finite, got "
                f"lambd={lambd}, scale={scale}, eps={eps}"
            )
        require_form(form, "BarlowTwins")
        self.lambd = lambd
        self.scale = scale
        self.eps = eps
        self.published_gradient = published_gradient
        self.form: Form = form

    def forward(self, z: Sequence[Tensor], label: Tensor | None = None) -> CriterionOutput:
        """Two embeddings `(B, D)` to a scalar. Computed in float32 at least, whatever the
        autocast."""
        z1, z2 = z
        with torch.autocast(z1.device.type, enabled=False):
            diagonal, squares = self._correlate(z1, z2)
            on_diag = (diagonal - 1).pow(2).sum()
            off_diag = squares - diagonal.pow(2).sum()
            loss = self.scale * (on_diag + self.lambd * off_diag)
        width = z1.shape[1]
        metrics = {
            "on_diag": on_diag.detach() / width,
            "off_diag": off_diag.detach() / max(width * (width - 1), 1),
        }
        return CriterionOutput(loss, metrics)

    def _correlate(self, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
        """The diagonal of `c`, `(D,)`, and the sum of all its squares."""
        z1, z2 = at_least_float32(z1), at_least_float32(z2)
        moments1, moments2 = global_moments(z1), global_moments(z2)
        count = moments1.count
        z1, z2 = self._standardise(z1, moments1), self._standardise(z2, moments2)
        even = self.training  # outside training the processes' shares may be uneven
        if chooses_gram(self.form, z1, count, even):
            squares = (
                squared_norm_of_product(z1, z2, even, own_summand=self.published_gradient)
                / count**2
            )
            return self._sum((z1 * z2).sum(0)) / count, squares
        correlation = self._sum(z1.T @ z2) / count
        return correlation.diagonal(), correlation.pow(2).sum()

    def _sum(self, own: Tensor) -> Tensor:
        """Over all processes."""
        if not self.published_gradient:
            return sum_over_processes(own)
        detached = own.detach()
        return own + (sum_over_processes(detached) - detached)

    def _standardise(self, z: Tensor, moments: Moments) -> Tensor:
        return (z - moments.mean) * (moments.variance + self.eps).rsqrt()

    def extra_repr(self) -> str:
        published = ", published_gradient=True" if self.published_gradient else ""
        return f"lambd={self.lambd}, scale={self.scale}{published}"
