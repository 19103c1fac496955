"""Joint embedding: two views, pooled and projected, judged by a criterion."""

import copy
from collections.abc import Callable, Sequence

from torch import Tensor

from blocklearn.backbones.stage import StageSpec
from blocklearn.batch import Batch
from blocklearn.criteria.barlow_twins import BarlowTwins
from blocklearn.criteria.criterion import Criterion
from blocklearn.errors import UserError
from blocklearn.heads.pooling import ExpandPooling, Pooling
from blocklearn.heads.projector import Projector
from blocklearn.objectives.objective import Objective, ObjectiveOutput


class JointEmbedding(Objective):
    """Pooling, projector and criterion on two views.

    The views pass one after the other, so that BatchNorm's statistics are each view's own, as
    published.

    Args:
        spec: the block's last stage.
        pooling: builds the pooling from the `StageSpec`.
        projector: builds the projector from the pooled width.
        criterion: the loss; each block works with a copy of its own.
    """

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = ExpandPooling,
        projector: Callable[[int], Projector] = Projector,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__()
        if pooling is None or projector is None:  # a natural way to ask for none
            raise UserError(
                "objective: pooling and projector cannot be null; GlobalPooling is the plain mean"
            )
        self.pooling = pooling(spec)
        self.pooled_width = self.pooling.out_features
        self.projector = projector(self.pooling.out_features)
        self.criterion = copy.deepcopy(criterion) if criterion is not None else BarlowTwins()

    def forward(self, features: Sequence[Tensor], batch: Batch) -> ObjectiveOutput:
        """Two maps `(B, C, H, W)` to the loss.

        Raises:
            UserError: for another number of views.
        """
        self._require_two(len(features))
        z1, z2 = (self.projector(self.pooling(view)) for view in features)
        loss, metrics = self.criterion(z1, z2)
        return ObjectiveOutput(loss, metrics, (z1.detach(), z2.detach()))

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse another number of views, and a map that the pooling can make nothing of; told
        before training."""
        self._require_two(num_views)
        self.pooling.require(features)

    @staticmethod
    def _require_two(num_views: int) -> None:
        if num_views != 2:
            raise UserError(
                f"JointEmbedding compares two views, the data recipe makes {num_views}: change "
                "--data.recipe or --model.objective"
            )

    def pooled(self, features: Tensor) -> Tensor:
        return self.pooling(features)
