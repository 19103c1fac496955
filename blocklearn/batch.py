"""What a data module hands to a model."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch of samples, each in one or more views.

    Attributes:
        views: one tensor per view, each `(B, C, H, W)`, or `(B, 1, L)` for sound, normalised.
        label: `(B,)` integers, -1 where a sample has no label; `(1, T)`, one per frame, for probes
            of data with frame labels.
        index: `(B,)` position of each sample in its data set.
        stored: what frozen blocks made of the views and what was kept, one tensor per view,
            `(B, rows, ...)` with what the patches of an image make along the second axis, 1 where
            there are none; `views` are then left out, unless an objective looks at them.
        visible: where tokens are hidden (`model.mask`), the positions of the others among a view's
            tokens, ascending, one `(B, V)` per view; empty where all are seen.
    """

    views: list[Tensor]
    label: Tensor
    index: Tensor
    stored: Sequence[Tensor] = ()
    visible: Sequence[Tensor] = ()
