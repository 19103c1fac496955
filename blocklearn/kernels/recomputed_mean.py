"""Convolution, BatchNorm, ReLU and mean over the positions, a few samples at a time, for kernels
larger than 1x1.

The statistics of such a convolution do not follow cheaply from those of its input
(`blocklearn.kernels.expanded_mean`), so it runs once for them, once for the mean, and once more in
backward: 5 passes in place of 3, and no expanded map but that of a few samples. What backward needs
of all samples are two sums a channel and sample, of `m` (whether the activation is above 0) and of
`m (z - mean(z))`; with `G = dL/dy / P` they give `d_beta = sum G m` and `d_gamma = sum G m (z -
mean(z)) / sigma`.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d
from torch.nn.modules.batchnorm import _BatchNorm

from blocklearn.distributed.collectives import all_reduce
from blocklearn.distributed.sync_norm import is_synchronised
from blocklearn.kernels.expanded_mean import entries_at_a_time, normalised_mean

# its first argument where the second is above the third, else 0
threshold_backward = torch.ops.aten.threshold_backward


def recomputed_mean(x: Tensor, weight: Tensor, norm: _BatchNorm) -> Tensor:
    """`norm(conv(x, weight)).relu().mean((2, 3))` to rounding, `(B, C, H, W)` to `(B, K)`, and its
    gradient; statistics as in `expanded_mean`. Under autocast the convolutions are taken in its
    type, all else in float32.

    Args:
        x: any strides.
        weight: `(K, C, k, k)`, `k` odd; the padding keeps the size.
        norm: over `K` channels, with weight, bias and running statistics.
    """
    return normalised_mean(_RecomputedMean, x, weight, norm)


class _RecomputedMean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        norm: _BatchNorm,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = torch.promote_types(x.dtype, torch.float32)
        gamma, beta, low = gamma.to(exact), beta.to(exact), weight.to(dtype)
        mean, variance, count = _statistics(x, low, norm, exact)
        inv_sigma = (variance + norm.eps).rsqrt()
        scale = gamma * inv_sigma
        above, above_z, y = (
            torch.empty(len(x), len(weight), dtype=exact, device=x.device) for _ in range(3)
        )
        for samples in parts(x, len(weight)):
            # z - mean_z: (s, K, H, W'), the convolution's output
            centred = _expand(x[samples], low, exact).sub_(_map(mean))
            # relu(u), u = s (z - mean_z) + beta
            active = torch.addcmul(_map(beta), centred, _map(scale)).clamp_min_(0)
            y[samples] = active.mean((2, 3))  # y: (s, K)
            # sum [u > 0] (z - mean_z): (s, K)
            above_z[samples] = threshold_backward(centred, active, 0).sum((2, 3))
            above[samples] = active.sign_().sum((2, 3))  # sum [u > 0]: (s, K)
        ctx.save_for_backward(x, weight, scale, beta, inv_sigma, mean, above, above_z, count)
        ctx.training, ctx.dtype, ctx.synchronised = norm.training, dtype, is_synchronised(norm)
        ctx.set_materialize_grads(False)
        unbiased = variance * (count / (count - 1)) if norm.training else variance
        ctx.mark_non_differentiable(mean, unbiased)
        return y.to(x.dtype), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return (*_gradients(ctx, grads[0]), None, None)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """Of `x`, weight, gamma and beta."""
    x, weight, scale, beta, inv_sigma, mean, above, above_z, count = ctx.saved_tensors
    low, wants_x = weight.to(ctx.dtype), ctx.needs_input_grad[0]
    grad = grad.to(scale) / x[0, 0].numel()  # dL/dy / P: (B, K)
    # dL/dbeta = sum g; dL/dgamma = sum g (z - mean_z) / sigma_z; g is constant over positions: (K,)
    d_beta, d_gamma = (grad * above).sum(0), (grad * above_z).sum(0) * inv_sigma
    sums = torch.stack([d_beta, d_gamma])
    if ctx.synchronised:
        sums = all_reduce(sums)
    dx, d_weight = (
        torch.empty_like(x) if wants_x else None,
        torch.zeros_like(weight, dtype=scale.dtype),
    )
    for samples in parts(x, len(weight)):
        centred = _expand(x[samples], low, scale.dtype).sub_(_map(mean))  # z - mean_z, once more
        active = torch.addcmul(_map(beta), centred, _map(scale))  # u
        # g = dL/du: the mean's gradient where u > 0, else 0: (s, K, H, W')
        dz = threshold_backward(grad[samples, :, None, None].expand_as(active), active, 0)
        if ctx.training:
            # BatchNorm: g - sum g / N - (z - mean_z) dL/dgamma / (sigma_z N)
            dz -= torch.addcmul(_map(sums[0] / count), centred, _map(sums[1] * inv_sigma / count))
        dz = dz.mul_(_map(scale)).to(ctx.dtype)  # dL/dz = s (...)
        part_dx, part_dw, _ = torch.ops.aten.convolution_backward(
            dz,
            x[samples].to(ctx.dtype),
            low,
            None,
            [1, 1],
            [k // 2 for k in low.shape[2:]],
            [1, 1],
            False,
            [0, 0],
            1,
            [wants_x, True, False],
        )
        d_weight += part_dw
        if dx is not None:
            dx[samples] = part_dx.to(dx.dtype)
    return dx, d_weight.to(weight.dtype), d_gamma, d_beta


def _statistics(
    x: Tensor, weight: Tensor, norm: _BatchNorm, exact: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of the convolution's outputs a channel."""
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return (
            norm.running_mean.to(exact),
            norm.running_var.to(exact),
            norm.running_mean.new_empty(0),
        )
    found = []
    for samples in parts(x, len(weight)):
        variance, mean = torch.var_mean(_expand(x[samples], weight, exact), (0, 2, 3), correction=0)
        found.append(
            torch.stack([mean.new_full(mean.shape, x[samples, 0].numel()), mean, variance])
        )
    counts, means, variances = torch.stack(found, 1)
    reduce = all_reduce if is_synchronised(norm) else lambda sums: sums
    total, weighted = reduce(torch.stack([counts.sum(0), (counts * means).sum(0)]))
    mean = weighted / total
    scatter = reduce((counts * (variances + (means - mean).square())).sum(0))
    return mean, scatter / total, total[:1]


def _expand(x: Tensor, weight: Tensor, exact: torch.dtype) -> Tensor:
    return conv2d(x.to(weight.dtype), weight, padding=[k // 2 for k in weight.shape[2:]]).to(exact)


def _map(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def parts(x: Tensor, width: int) -> Iterator[slice]:
    """Samples at a time, whole ones."""
    step = max(entries_at_a_time(x) // (width * x.shape[2] * x.shape[3]), 1)
    return (slice(first, first + step) for first in range(0, len(x), step))
