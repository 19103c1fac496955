"""The algebra of the fused 1x1 expansion (`blocklearn/kernels/expanded_mean.py`) around passes over
the positions that can be exchanged, so that ways to carry those out can be compared."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from blocklearn.kernels.expanded_mean import (
    _statistics,
    chunks,
    normalised_mean,
    positions_last,
)
from blocklearn.kernels.packed_mask import pack_positive, where_positive


class Correction(NamedTuple):
    """BatchNorm's part of the gradient to `x`: minus `offset + (x - mean) pull`.

    Attributes:
        offset: `(C,)`.
        mean: `(C,)`.
        pull: `(C, C)`.
    """

    offset: Tensor
    mean: Tensor
    pull: Tensor


class Passes(Protocol):
    """With `rows` `(B, P, C)` and `folded` `s W` `(K, C)` in the type for products, sums in float32
    at least."""

    def forward(self, rows: Tensor, folded: Tensor, shift: Tensor, sums: Tensor) -> list[Tensor]:
        """Fill `sums` `(B, K)` with those over the positions of `relu(s W x + shift)`.

        Returns:
            What backward needs of them besides `rows`.
        """
        ...

    def to_weights(self, rows: Tensor, kept: list[Tensor], grad: Tensor) -> tuple[Tensor, Tensor]:
        """`T = sum g x^T` `(K, C)` and `sum g` `(K,)`, where `g` is `grad` `(B, K)` at the
        positions whose activation was above 0."""
        ...

    def to_input(
        self,
        rows: Tensor,
        kept: list[Tensor],
        grad: Tensor,
        folded: Tensor,
        correction: Correction,
        dx: Tensor,
    ) -> None:
        """Fill `dx` `(B, P, C)` with `g s W`, corrected."""
        ...


def mean_by(passes: Passes) -> Callable[[Tensor, Tensor, _BatchNorm], Tensor]:
    """`expanded_mean` with passes of its own; in training alone, in one process."""
    return lambda x, weight, norm: normalised_mean(_Mean, x, weight.flatten(1), norm, passes)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        norm: _BatchNorm,
        dtype: torch.dtype,
        passes: Passes,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = positions_last(x)
        exact = torch.promote_types(x.dtype, torch.float32)
        weight, gamma, beta = weight.to(exact), gamma.to(exact), beta.to(exact)
        found = _statistics(rows, weight, norm)
        inv_sigma = (found.variance_z + norm.eps).rsqrt()
        scale = gamma * inv_sigma
        shift = (beta - found.mean_z * scale).to(dtype) + 0.0
        sums = torch.empty(len(rows), len(weight), dtype=exact, device=x.device)
        kept = passes.forward(rows, (scale[:, None] * weight).to(dtype), shift, sums)
        ctx.save_for_backward(x, weight, scale, inv_sigma, *found, *kept)
        ctx.dtype, ctx.passes = dtype, passes
        ctx.set_materialize_grads(False)
        unbiased = found.variance_z * (found.count / (found.count - 1))
        ctx.mark_non_differentiable(found.mean_z, unbiased)
        return (sums / rows.shape[1]).to(x.dtype), found.mean_z, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, scale, inv_sigma, mean, covariance, mean_z, _, count, *kept = ctx.saved_tensors
        passes, rows = ctx.passes, positions_last(x)
        grad = (grads[0].to(weight.dtype) / rows.shape[1]).to(ctx.dtype)
        moved, d_beta = passes.to_weights(rows, kept, grad)
        d_gamma = ((weight * moved).sum(1) - mean_z * d_beta) * inv_sigma
        d_weight = (
            moved - d_beta[:, None] * mean - (d_gamma * inv_sigma)[:, None] * (weight @ covariance)
        )
        scaled = scale[:, None] * weight
        correction = Correction(
            scaled.T @ (d_beta / count),
            mean,
            scaled.T @ ((d_gamma * inv_sigma / count)[:, None] * weight),
        )
        dx = torch.empty_like(x)
        passes.to_input(rows, kept, grad, scaled.to(ctx.dtype), correction, positions_last(dx))
        return dx, scale[:, None] * d_weight, d_gamma, d_beta, None, None, None


class Chunked:
    """As the package has it, chunk by chunk; what is done to a chunk can be compiled.

    Args:
        wrap: of each of the three functions of a chunk, `torch.compile` for one.
    """

    def __init__(self, wrap: Callable[[Any], Any] = lambda function: function) -> None:
        self._expand, self._weigh, self._return = map(wrap, (_expand, _weigh, _return))

    def forward(self, rows: Tensor, folded: Tensor, shift: Tensor, sums: Tensor) -> list[Tensor]:
        sums.zero_()
        bits = []
        for samples, positions in chunks(rows, len(folded)):
            part = rows[samples, positions]
            total, packed = self._expand(part, folded, shift, sums.dtype)
            sums[samples] += total
            bits.append(packed)
        return bits

    def to_weights(self, rows: Tensor, kept: list[Tensor], grad: Tensor) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(grad.dtype, torch.float32)
        moved = grad.new_zeros(grad.shape[1], rows.shape[2], dtype=exact)
        d_beta = grad.new_zeros(grad.shape[1], dtype=exact)
        for (samples, positions), packed in zip(chunks(rows, len(moved)), kept, strict=True):
            ours, total = self._weigh(rows[samples, positions], packed, grad[samples], exact)
            moved += ours
            d_beta += total
        return moved, d_beta

    def to_input(
        self,
        rows: Tensor,
        kept: list[Tensor],
        grad: Tensor,
        folded: Tensor,
        correction: Correction,
        dx: Tensor,
    ) -> None:
        for (samples, positions), packed in zip(chunks(rows, len(folded)), kept, strict=True):
            part = rows[samples, positions]
            made = self._return(part, packed, grad[samples], folded, correction)
            dx[samples, positions] = made.to(dx.dtype)


def _expand(
    part: Tensor, folded: Tensor, shift: Tensor, exact: torch.dtype
) -> tuple[Tensor, Tensor]:
    z = torch.addmm(shift, part.flatten(0, 1).to(folded.dtype), folded.T)
    z = z.clamp_min(0).view(*part.shape[:2], -1)
    return z.sum(1, dtype=exact), pack_positive(z)


def _spread(part: Tensor, packed: Tensor, grad: Tensor) -> Tensor:
    shape = (*part.shape[:2], grad.shape[1])
    return where_positive(packed, grad[:, None], shape).flatten(0, 1)


def _weigh(part: Tensor, packed: Tensor, grad: Tensor, exact: torch.dtype) -> tuple[Tensor, Tensor]:
    g = _spread(part, packed, grad)
    return (g.T @ part.flatten(0, 1).to(g.dtype)).to(exact), g.sum(0, dtype=exact)


def _return(
    part: Tensor, packed: Tensor, grad: Tensor, folded: Tensor, correction: Correction
) -> Tensor:
    centred = part.flatten(0, 1).to(correction.mean.dtype) - correction.mean
    direct = _spread(part, packed, grad) @ folded
    return (direct - torch.addmm(correction.offset, centred, correction.pull)).view(part.shape)
