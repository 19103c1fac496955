"""`|Z1^T Z2|^2` without the `(D, D)` matrix: criteria that sum its squares need the `(B, B)` Gram
matrices only."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from blocklearn.distributed.collectives import gather_batch, sum_over_processes
from blocklearn.distributed.groups import world_size

Form = Literal["auto", "matrix", "gram"]


def require_form(form: str, owner: str) -> None:
    """
    Raises:
        ValueError: for anything but `auto`, `matrix` and `gram`.
    """
    if form not in ("auto", "matrix", "gram"):
        raise ValueError(f"{owner} needs form auto, matrix or gram, got {form}")


def chooses_gram(form: Form, z: Tensor, count: int | Tensor, even: bool) -> bool:
    """Whether the `(B, B)` form is taken: as `form` says, under `auto` where the whole batch is
    smaller than the width.

    Args:
        form: the user's choice.
        z: this process' embeddings, `(b, D)`.
        count: `B`, samples over all processes. A tensor is read, and so waited for, only where
            shares are not even.
        even: every process has equally many samples. All processes come to the same choice.
    """
    if form != "auto":
        return form == "gram"
    return (len(z) * world_size() if even else int(count)) < z.shape[1]


def squared_norm_of_product(
    z1: Tensor, z2: Tensor, even: bool = True, own_summand: bool = False
) -> Tensor:
    """`|Z1^T Z2|^2 = sum_ij (sum_b z1[b, i] z2[b, j])^2`, over the samples `b` of all processes.

    It equals `<Z1 Z1^T, Z2 Z2^T>`, with derivative `2 (Z2 Z2^T) Z1` by `Z1`. Forward and backward
    take `4 B^2 D` multiply-adds and hold `B^2` numbers; those of the matrix take `3 B D^2` and hold
    `D^2`. Each process makes the rows of its own samples and keeps everyone's embeddings for the
    backward pass, which exchanges nothing but a scalar.

    Args:
        z1: `(b, D)`, this process' samples.
        z2: `(b, D)`, the same samples.
        even: every process has equally many samples. Where that is not sure, their numbers are
            exchanged first.
        own_summand: the gradient is that of this process' loss alone, as if the other processes'
            summands in `Z1^T Z2` were constants; by default that of the sum of all processes'
            losses (`collectives`).

    Returns:
        A scalar, the same on every process. It can be differentiated once.
    """
    return _SquaredNormOfProduct.apply(z1, z2, even, own_summand)  # pyright: ignore[reportReturnType]


class _SquaredNormOfProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z1: Tensor, z2: Tensor, even: bool, own_summand: bool) -> Tensor:
        all1 = gather_batch(z1, even)
        all2 = all1 if z2 is z1 else gather_batch(z2, even)
        gram1 = z1 @ all1.T
        gram2 = gram1 if z2 is z1 else z2 @ all2.T
        ctx.save_for_backward(all1, all2, gram1, gram2)
        ctx.own_summand = own_summand
        return sum_over_processes(torch.vdot(gram1.flatten(), gram2.flatten()))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        all1, all2, gram1, gram2 = ctx.saved_tensors
        factor = 2 * (grads[0] if ctx.own_summand else sum_over_processes(grads[0]))
        # The walk calls backward inside autocast, which would round these products to bfloat16.
        with torch.autocast(all1.device.type, enabled=False):
            return (factor * gram2) @ all1, (factor * gram1) @ all2, None, None
