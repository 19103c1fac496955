"""Mean and variance over the samples of all processes."""

from typing import NamedTuple

import torch
from torch import Tensor

from blocklearn.distributed.collectives import gather_batch
from blocklearn.distributed.groups import world_size


class Moments(NamedTuple):
    """Statistics per channel.

    Attributes:
        mean: `(C,)`.
        variance: `(C,)`, biased: divided by `count`.
        count: values a channel, over all processes; a tensor where there are several.
    """

    mean: Tensor
    variance: Tensor
    count: int | Tensor


def global_moments(x: Tensor) -> Moments:
    """Moments of `(B, C, ...)` per channel, over all other axes and all processes, whose shares may
    differ in size. Gradients flow through them, also those of the other processes' samples."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x, dim=axes, correction=0)
    count = x.numel() // x.shape[1]
    return (
        Moments(mean, variance, count) if world_size() == 1 else join_moments(mean, variance, count)
    )


def join_moments(mean: Tensor, variance: Tensor, count: int) -> Moments:
    """Moments of all processes' samples from those of each, `(C,)`, over `count` values: `var =
    sum_r n_r/n (var_r + (mean_r - mean)^2)`, which does not cancel."""
    shares = gather_batch(torch.cat([mean, variance, mean.new_full((1,), count)]).unsqueeze(0))
    means, variances, counts = shares.split([len(mean), len(mean), 1], dim=1)
    total = counts.detach().sum()
    share = counts.detach() / total
    mean = (share * means).sum(0)
    return Moments(mean, (share * (variances + (means - mean).square())).sum(0), total)
