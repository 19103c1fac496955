"""Projectors that start as copies of the first."""

from collections.abc import Sequence
from typing import Any

from blocklearn.errors import UserError
from blocklearn.weights.checkpoint import check_fit


def copy_first_projector(blocks: Sequence[Any]) -> None:
    """Give the projectors of all blocks the weights of the first.

    Raises:
        UserError: where a block has none, or one of another shape.
    """
    projectors: list[Any] = [getattr(block.objective, "projector", None) for block in blocks]
    for block, projector in zip(blocks, projectors, strict=True):
        if projector is None:
            kind = type(block.objective).__name__
            raise UserError(
                f"identical_projectors: the {kind} of {block.name} has no projector; leave it out"
            )
        check_fit(
            projector.state_dict(),
            projectors[0].state_dict(),
            f"identical_projectors: the projectors of block1 and {block.name} differ",
            "Give all blocks the same, or leave it out",
        )
        projector.load_state_dict(projectors[0].state_dict())
