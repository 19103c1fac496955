"""Which tokens of a batch a walk hides."""

from blocklearn.backbones.token_grid import TokenGrid
from blocklearn.batch import Batch
from blocklearn.masks.mask import Mask
from blocklearn.training.contract import STANDING, Clock
from blocklearn.training.execution import Execution
from blocklearn.training.placed_walk import PlacedWalk

MASK_STREAM = -3  # where other draws of an epoch have other numbers, or none


class MaskedWalk(PlacedWalk):
    """Draws the mask of a batch once, before its first block; all blocks find it in the batch.

    Args:
        execution: which block runs when, in one process.
    """

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self.mask: Mask | None = None
        self.masked_tokens: TokenGrid | None = None  # what it hides some of

    def masked(self, batch: Batch, clock: Clock = STANDING) -> Batch:
        """With the positions of the visible tokens; as it is where there is no mask. They depend on
        seed, epoch, sample and view; outside of training on sample and view."""
        if self.mask is None or self.masked_tokens is None:
            return batch
        fixed = getattr(getattr(self._trainer, "datamodule", None), "fixed_views", False)
        keys = (clock.seed, 0 if fixed else clock.epoch) if clock.learning else ()
        visible = [
            self.mask.visible(batch.index, self.masked_tokens.grid, *keys, view, MASK_STREAM)
            for view in range(len(batch.stored or batch.views))
        ]
        return batch._replace(visible=visible)
