"""Which activations of a ReLU are above 0, a bit each.

Integer arithmetic on the floats' own bits: comparisons and booleans are several times slower in
PyTorch on a CPU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def pack_positive(activations: Tensor) -> Tensor:
    """One bit an activation: whether it is above 0. `activations` is used up: its memory serves for
    scratch.

    With `n` bits a number, the tensor is laid out as `n` slabs, and bit `j` of each packed number
    speaks of slab `j`.

    Args:
        activations: contiguous, none below 0, of any shape; a zero with a minus sign counts as
            above 0.

    Returns:
        Integers as wide as the activations, an `n`-th as many (rounded up).
    """
    bits, kind = 8 * activations.element_size(), INTEGERS[activations.element_size()]
    flat = activations.view(-1).view(kind)
    if len(flat) % bits:
        flat = torch.nn.functional.pad(flat, (0, -len(flat) % bits))
    one = torch.ones(bits, 1, dtype=kind, device=flat.device)
    place = one << torch.arange(bits, dtype=kind, device=flat.device)[:, None]
    # A float above 0 is a positive integer, so its negative begins with a bit of 1, which the shift
    # spreads over all bits.
    spread = flat.view(bits, -1).neg_().bitwise_right_shift_(bits - 1)
    return spread.bitwise_and_(place).sum(0, dtype=kind)


def where_positive(packed: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """`values`, broadcast to `shape`, where the activations were above 0, and 0 elsewhere.

    Args:
        packed: from `pack_positive`, of activations of this shape.
        values: of the activations' type.
        shape: theirs.
    """
    bits, kind = 8 * packed.element_size(), packed.dtype
    place = torch.arange(bits - 1, -1, -1, dtype=kind, device=packed.device)[:, None]
    spread = (packed << place).bitwise_right_shift_(bits - 1)
    mask = spread.view(-1)[: torch.Size(shape).numel()].view(shape)
    return mask.bitwise_and_(values.view(kind)).view(values.dtype)
