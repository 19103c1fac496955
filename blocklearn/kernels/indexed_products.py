"""Products of vectors with others that are named by their index, never copied."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from blocklearn.kernels.pieces import at_a_time


def indexed_products(anchors: Tensor, pool: Tensor, index: Tensor) -> Tensor:
    """`out[i, j] = <anchors[i], pool[index[i, j]]>`, `(N, n)`, with gradients to both. Equal to
    `(anchors.unsqueeze(1) * pool[index]).sum(2)` without its `N x n x D` copies.

    Args:
        anchors: `(N, D)`.
        pool: `(M, D)`.
        index: `(N, n)` integers.
    """
    return _IndexedProducts.apply(anchors, pool, index)  # pyright: ignore[reportReturnType]


class _IndexedProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, pool: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(anchors, pool, index)
        # what fits a processor's cache, or keeps a GPU busy
        chunk = at_a_time(anchors.device, 1 << 18, 1 << 24)
        rows = max(chunk // (index.shape[1] * anchors.shape[1]), 1)
        return torch.cat(
            [
                torch.bmm(pool[chosen], some.unsqueeze(2)).squeeze(2)
                for some, chosen in zip(anchors.split(rows), index.split(rows), strict=True)
            ]
        )

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        anchors, pool, index = ctx.saved_tensors
        weights = grads[0].contiguous()
        # dL/da_i = sum_j dL/dout_ij p_index(i, j): (N, D)
        to_anchors = embedding_bag(index, pool, per_sample_weights=weights, mode="sum")
        # The other way round: for every row of the pool, the anchors that chose it.
        order = index.flatten().argsort(stable=True)
        # where those of a row begin; counting them (`bincount`) would wait for the device
        begins = torch.searchsorted(
            index.flatten()[order], torch.arange(len(pool), device=index.device)
        )
        # dL/dp_m = sum over (i, j) with index(i, j) = m of dL/dout_ij a_i: (M, D)
        to_pool = embedding_bag(
            order // index.shape[1],
            anchors,
            begins,
            per_sample_weights=weights.flatten()[order],
            mode="sum",
        )
        return to_anchors, to_pool, None
