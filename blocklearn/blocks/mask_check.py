"""Whether a mask fits a network and its objectives."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from blocklearn.backbones.patches import Patches
from blocklearn.backbones.token_grid import TokenGrid
from blocklearn.errors import UserError
from blocklearn.masks.mask import Mask


def masked_tokens(
    mask: Mask | None, blocks: Sequence[Any], patches: Patches | None
) -> TokenGrid | None:
    """What a mask hides some of; None without one.

    Raises:
        UserError: for a backbone without tokens, for patches that pass it one by one, for one that
            drops tokens of its own, and for a ratio that hides all or none.
    """
    if mask is None:
        return None
    first = blocks[0].stages[0]
    tokens = first.spec.tokens
    if tokens is None:
        kind = first.spec.layout.kind
        raise UserError(
            f"mask: this backbone makes {kind}{' of images of any size' * (kind == 'tokens')}, and "
            "a mask hides tokens: take a vision transformer without dynamic_img_size, or leave "
            "--model.mask out"
        )
    if patches is not None:
        raise UserError("mask: images cut into patches have no mask; set --model.patches null")
    if any(type(part).__name__ == "PatchDropout" for part in first.modules()):
        raise UserError(
            "mask: the backbone drops tokens too (patch_drop_rate); leave one of the two out"
        )
    mask.require(tokens.grid)
    return tokens


def require_mask(mask: Mask | None, objectives: Sequence[nn.Module]) -> None:
    """Before training.

    Raises:
        UserError: for an objective that needs a mask without one, and for one that takes all tokens
            with one.
    """
    for objective in objectives:
        takes, kind = getattr(objective, "tokens", "all"), type(objective).__name__
        if mask is None and takes == "visible":
            raise UserError(
                f"mask: {kind} paints what is hidden, and nothing is; add --model.mask RandomMask "
                "(TubeMask for video)"
            )
        if mask is not None and takes == "all":
            raise UserError(
                f"mask: {kind} takes the features of all tokens, {mask} hides some: leave "
                "--model.mask out, or choose MaskedReconstruction"
            )
