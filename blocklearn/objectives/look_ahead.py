"""Joint embedding through the projector of the last block."""

import copy
from collections.abc import Callable, Sequence

import torch

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.barlow_twins import BarlowTwins
from blocklearn.criteria.criterion import Criterion
from blocklearn.errors import UserError
from blocklearn.heads.pooling import ExpandPooling, Pooling
from blocklearn.heads.projector import Projector
from blocklearn.objectives.joint_embedding import JointEmbedding, width_of
from blocklearn.training.contract import Clock, LocalBlock


class LookAheadEmbedding(JointEmbedding):
    """`JointEmbedding`, where all blocks are judged through one projector, the last block's.

    The last block trains its projector as ever. Every block before it has a copy that it only
    reads: the gradient passes through it to the block's own pooling and stages, the copied weights
    belong to no optimizer and are taken over from the last block anew every so many batches. The
    idea is SOLO's (arXiv 2609.35440), which shares the readout of language models; with pooled
    features and a criterion on two views it is ours.

    What is copied are the weights. Running statistics of the copy's norms are its own, those of
    this block's features; in training each view is normalised by its own statistics. The copy is
    refreshed before the last block learns from the same batch.

    Where blocks are trained one after the other, all but the last are judged through a projector
    that has not learned.

    Args:
        spec: the block's last stage.
        pooling: features to a vector, the block's own; of one width in all blocks.
        projector: of the last block; built from the pooled width.
        criterion: as for `JointEmbedding`.
        refresh: batches between two refreshments, >= 1.

    Raises:
        ValueError: for `refresh` below 1.
        UserError: where the pooled width is not that of the last block.
    """

    reads_others = True

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = ExpandPooling,
        projector: Callable[[int], Projector] = Projector,
        criterion: Callable[[int], Criterion] = BarlowTwins,
        refresh: int = 50,
    ) -> None:
        if refresh < 1:
            raise ValueError(f"LookAheadEmbedding: refresh is at least 1, got {refresh}")
        super().__init__(spec, pooling, projector, criterion)
        self.refresh = refresh
        self._last: tuple[Projector, ...] = ()

    def join(self, index: int, blocks: Sequence[LocalBlock]) -> None:
        """Copy the projector of the last block that has such an objective."""
        own = blocks[index]
        if own.objective is not self:
            raise UserError(
                f"objective: LookAheadEmbedding must be the objective of {own.name} itself, not a "
                f"part of its {type(own.objective).__name__}"
            )
        last = [block for block in blocks if isinstance(block.objective, LookAheadEmbedding)][-1]
        if last is not own:
            self._require_fit(own.name, last)
            self._last = (last.objective.projector,)
            self.projector = copy.deepcopy(last.objective.projector).requires_grad_(False)

    def after_update(self, clock: Clock) -> None:
        done = clock.step + 1
        if self._last and done // self.refresh > (done - clock.group) // self.refresh:
            self._take_over()

    @torch.no_grad()
    def _take_over(self) -> None:
        (last,) = self._last
        for own, other in zip(self.projector.parameters(), last.parameters(), strict=True):
            own.copy_(other)

    def _require_fit(self, name: str, last: LocalBlock) -> None:
        ours, theirs = _widths(self), _widths(last.objective)
        if ours[0] != theirs[0]:
            raise UserError(
                f"objective: {name} looks ahead through the projector of {last.name}, which takes "
                f"{theirs[0]} components, and pools to {ours[0]}: give both one width, with "
                "--model.objective.pooling ExpandPooling and its width"
            )
        if ours[1] != theirs[1]:
            raise UserError(
                f"objective: {name} looks ahead through the projector of {last.name}, which makes "
                f"{theirs[1]} components, its own {ours[1]}: give both the same (--model.per_block)"
            )

    def extra_repr(self) -> str:
        return f"refresh={self.refresh}"


def _widths(objective: JointEmbedding) -> tuple[int, int]:
    """Pooled, and projected."""
    pooled = objective.pooling.out_features
    return pooled, width_of(objective.projector, pooled)
