"""Convolution 1x1, BatchNorm, ReLU and mean over the positions, without ever holding the expanded
map.

With `x` the `B * P` positions of `C` channels and `W` of `(K, C)`, the statistics of `z = W x`
follow from those of `x`: `mean(z) = W mean(x)`, `var(z) = diag(W cov(x) W^T)`. So convolution and
BatchNorm fold into one affine map, which runs in chunks of positions. Of each activation one bit is
kept: whether it is above 0, which is all that its gradient asks.

Backward, with `G = dL/dy / P`, `m` the bits, `s = gamma / sigma`, `N` the positions of all samples:
`T = sum_b,p m G x^T`, `d_beta = sum m G`, `d_gamma = (W . T - mean(z) d_beta) / sigma`,
`dW = s (T - d_beta mean(x)^T - d_gamma / sigma W cov(x))`,
`dx = W^T s (m G - d_beta / N) - W^T s d_gamma / (sigma N) W (x - mean(x))`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from blocklearn.distributed.collectives import all_reduce
from blocklearn.distributed.sync_norm import is_synchronised, track_moments
from blocklearn.kernels.packed_mask import pack_positive, where_positive
from blocklearn.kernels.pieces import at_a_time

CPU_ENTRIES = 2**21  # stay in its cache
DEVICE_ENTRIES = 2**27


class Statistics(NamedTuple):
    """Of `x` and of `z`, in float32 at least. Those of `x`, and `count`, are empty where the norm's
    running ones are used.

    Attributes:
        mean: `(C,)` of `x`.
        covariance: `(C, C)` of `x`, biased.
        mean_z: `(K,)`.
        variance_z: `(K,)`, biased.
        count: positions, over all processes.
    """

    mean: Tensor
    covariance: Tensor
    mean_z: Tensor
    variance_z: Tensor
    count: Tensor


def expanded_mean(x: Tensor, weight: Tensor, norm: _BatchNorm) -> Tensor:
    """`norm(conv1x1(x, weight)).relu().mean((2, 3))` to rounding: `(B, C, H, W)` to `(B, K)`, and
    its gradient. It updates the running statistics of `norm` in training and uses them in eval
    mode; with a synchronised norm the statistics are those of all processes' samples. Under
    autocast the products are taken in its type, sums in float32.

    Args:
        x: any strides.
        weight: `(K, C)` or `(K, C, 1, 1)`.
        norm: over `K` channels, with weight, bias and running statistics.
    """
    keep = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (x, weight, norm.weight, norm.bias)
    )
    return normalised_mean(_ExpandedMean, x, weight.flatten(1), norm, keep)


def normalised_mean(
    function: type[torch.autograd.Function], x: Tensor, weight: Tensor, norm: _BatchNorm, *more: Any
) -> Tensor:
    """What `function` makes, outside autocast but told the type for products; its statistics go
    into those of `norm`."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    with torch.autocast(device, enabled=False):
        y, mean, variance = function.apply(x, weight, norm.weight, norm.bias, norm, dtype, *more)  # pyright: ignore
    if norm.training:
        track_moments(norm, mean, variance)
    return y


class _ExpandedMean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        norm: _BatchNorm,
        dtype: torch.dtype,
        keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = positions_last(x)  # x: (B, P, C)
        exact = torch.promote_types(x.dtype, torch.float32)
        weight, gamma, beta = weight.to(exact), gamma.to(exact), beta.to(exact)
        found = _statistics(rows, weight, norm)
        inv_sigma = (found.variance_z + norm.eps).rsqrt()  # 1 / sigma_z: (K,)
        scale = gamma * inv_sigma  # s: (K,)
        folded_weight = (scale[:, None] * weight).to(dtype).T  # (s W)^T: (C, K)
        # b = beta - s mean_z: (K,); + 0.0 leaves no zero with a minus sign, whose bits look like a
        # number's
        shift = (beta - found.mean_z * scale).to(dtype) + 0.0
        y = torch.zeros(len(rows), len(weight), dtype=exact, device=x.device)
        bits: list[Tensor] = []
        for samples, positions in chunks(rows, len(weight)):
            part = rows[samples, positions]  # x: (s, p, C)
            # u = s W x + b: (s p, K)
            z = torch.addmm(shift, part.reshape(-1, part.shape[2]).to(dtype), folded_weight)
            z = z.clamp_min_(0).view(*part.shape[:2], -1)  # relu(u): (s, p, K)
            y[samples] += z.sum(1, dtype=exact)  # sum over positions: (s, K)
            if keep:
                bits.append(pack_positive(z))  # [u > 0], one bit each
        if keep:
            ctx.save_for_backward(x, weight, scale, inv_sigma, *found, *bits)
        ctx.training, ctx.dtype, ctx.synchronised = norm.training, dtype, is_synchronised(norm)
        ctx.set_materialize_grads(False)
        unbiased = (
            found.variance_z * (found.count / (found.count - 1))
            if norm.training
            else found.variance_z
        )
        ctx.mark_non_differentiable(found.mean_z, unbiased)
        return (y / rows.shape[1]).to(x.dtype), found.mean_z, unbiased  # y: (B, K)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return (*_gradients(ctx, grads[0]), None, None, None)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """Of `x`, weight, gamma and beta."""
    x, weight, scale, inv_sigma, mean, covariance, mean_z, _, count, *bits = ctx.saved_tensors
    rows = positions_last(x)
    exact = weight.dtype
    grad = (grad.to(exact) / rows.shape[1]).to(ctx.dtype)  # dL/dy / P: (B, K)
    folded_weight = (scale[:, None] * weight).to(ctx.dtype)  # s W: (K, C)
    wants_x = ctx.needs_input_grad[0]
    dx = torch.empty_like(x) if wants_x else x
    dx_rows = positions_last(dx)
    moved, d_beta = torch.zeros_like(weight), torch.zeros_like(mean_z)  # T: (K, C); (K,)
    for (samples, positions), packed in zip(chunks(rows, len(weight)), bits, strict=True):
        part = rows[samples, positions]
        # g = dL/du: the gradient of the mean where u > 0, else 0: (s p, K)
        g = where_positive(packed, grad[samples, None], (*part.shape[:2], len(weight))).flatten(
            0, 1
        )
        d_beta += g.sum(0, dtype=exact)  # sum g: (K,)
        # T = sum g x^T: (K, C)
        moved += g.T @ part.reshape(-1, part.shape[2]).to(ctx.dtype)
        if wants_x:
            # g s W: (s p, C), the part that BatchNorm's statistics leave alone
            dx_rows[samples, positions] = (g @ folded_weight).view(part.shape).to(dx.dtype)
    # dL/dgamma = sum g (z - mean_z) / sigma_z = (W . T - mean_z sum g) / sigma_z: (K,)
    d_gamma = ((weight * moved).sum(1) - mean_z * d_beta) * inv_sigma
    if not ctx.training:  # the statistics were constants
        return dx if wants_x else None, scale[:, None] * moved, d_gamma, d_beta
    # dL/dW / s = T - (sum g) mean_x^T - (dL/dgamma / sigma_z) W Cov_x: (K, C)
    d_weight = (
        moved - d_beta[:, None] * mean - (d_gamma * inv_sigma)[:, None] * (weight @ covariance)
    )
    if wants_x:
        sums = (
            all_reduce(torch.stack([d_beta, d_gamma]))
            if ctx.synchronised
            else torch.stack([d_beta, d_gamma])
        )
        # BatchNorm's part of dL/dx is -(offset + pull^T (x - mean_x)), known only now
        scaled = scale[:, None] * weight  # s W: (K, C)
        offset = scaled.T @ (sums[0] / count)  # (s W)^T sum g / N: (C,)
        # (s W)^T diag(dL/dgamma / (sigma_z N)) W: (C, C)
        pull = scaled.T @ ((sums[1] * inv_sigma / count)[:, None] * weight)
        for samples, positions in chunks(rows, x.shape[1]):
            part = rows[samples, positions]
            centred = part.reshape(-1, part.shape[2]).to(exact) - mean  # x - mean_x: (s p, C)
            dx_rows[samples, positions] -= (
                torch.addmm(offset, centred, pull).view(part.shape).to(dx.dtype)
            )
    return dx if wants_x else None, scale[:, None] * d_weight, d_gamma, d_beta


def _statistics(rows: Tensor, weight: Tensor, norm: _BatchNorm) -> Statistics:
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        none = weight.new_empty(0)
        return Statistics(
            none, none, norm.running_mean.to(weight), norm.running_var.to(weight), none
        )
    synchronised = is_synchronised(norm)
    count = weight.new_full((1,), rows.shape[0] * rows.shape[1])
    total = torch.cat([rows.sum((0, 1), dtype=weight.dtype), count])
    total, count = (all_reduce(total) if synchronised else total).split([rows.shape[2], 1])
    mean = total / count  # mean_x: (C,)
    scatter = torch.zeros(len(mean), len(mean), dtype=mean.dtype, device=mean.device)
    for samples, positions in chunks(rows, rows.shape[2]):
        centred = rows[samples, positions].reshape(-1, len(mean)).to(mean) - mean
        scatter.addmm_(centred.T, centred)  # sum (x - mean_x)(x - mean_x)^T: (C, C)
    # Cov_x: (C, C); then mean_z = W mean_x and var_z = diag(W Cov_x W^T), both (K,)
    covariance = (all_reduce(scatter) if synchronised else scatter) / count
    return Statistics(
        mean, covariance, weight @ mean, ((weight @ covariance) * weight).sum(1).clamp_min(0), count
    )


def positions_last(x: Tensor) -> Tensor:
    """`(B, C, H, W)` to `(B, H * W, C)`, a view wherever the strides allow it; they do in both
    memory formats."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def chunks(rows: Tensor, width: int) -> Iterator[tuple[slice, slice]]:
    """Cut `(B, P, C)` into parts of (samples, positions), whole samples where they are small, so
    that a part has about `entries_at_a_time` where each position has `width`."""
    samples, positions, _ = rows.shape
    room = max(entries_at_a_time(rows) // width, 1)
    step, stride = max(room // positions, 1), min(room, positions)
    for first in range(0, samples, step):
        for begin in range(0, positions, stride):
            yield slice(first, first + step), slice(begin, begin + stride)


def entries_at_a_time(x: Tensor) -> int:
    """How many expanded activations are held at once."""
    return at_a_time(x.device, CPU_ENTRIES, DEVICE_ENTRIES)
