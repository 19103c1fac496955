"""Joint embedding: views that are pooled, projected and compared by a criterion."""

import copy
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.barlow_twins import BarlowTwins
from blocklearn.criteria.criterion import Criterion
from blocklearn.errors import UserError
from blocklearn.heads.pooling import ExpandPooling, Pooling
from blocklearn.heads.projector import Projector
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published


class JointEmbedding(Objective):
    """Pooling, projector and criterion on the views of a sample.

    The views pass one after the other, so that BatchNorm's statistics are each view's own, as
    published.

    Args:
        spec: the block's last stage.
        pooling: features to a vector; built from the `StageSpec`.
        projector: the MLP behind the pooling; built from the pooled width.
        criterion: the loss on the embeddings; built from their width, or one of which each block
            works with a copy.
    """

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = ExpandPooling,
        projector: Callable[[int], Projector] = Projector,
        criterion: Callable[[int], Criterion] = BarlowTwins,
    ) -> None:
        super().__init__()
        if pooling is None or projector is None:  # a natural way to ask for none
            raise UserError(
                "objective: pooling and projector cannot be null; GlobalPooling is the plain mean, "
                "NoProjector hands it on as it is"
            )
        self.pooling = pooling(spec)
        self.projector = projector(self.pooling.out_features)
        if isinstance(criterion, Criterion):
            self.criterion = copy.deepcopy(criterion)
        else:
            self.criterion = criterion(width_of(self.projector, self.pooling.out_features))
        self.labels = self.criterion.labels

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss.

        Raises:
            UserError: for another number of views than the criterion compares.
        """
        self._require_views(len(local.features))
        z = [self.projector(self.pooling(view)) for view in local.features]
        return ObjectiveOutput(*self.criterion(z, local.batch.label))

    def published(self) -> Sequence[Published]:
        return [Published("head", self.pooling.out_features, self.pooling, self.pooling)]

    def further(self) -> Sequence[Published]:
        width = width_of(self.projector, self.pooling.out_features)
        whole = nn.Sequential(self.pooling, self.projector)
        return [Published("projector", width, self.projector, whole)]

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse another number of views than the criterion compares, and a map that the pooling
        can make nothing of; reported before training."""
        self._require_views(num_views)
        self.pooling.require(features)

    def _require_views(self, num_views: int) -> None:
        wanted, least = self.criterion.num_views, self.criterion.fewest_views
        if wanted not in (None, num_views) or num_views < least:
            count = wanted or least
            words = {1: "one view", 2: "two views"}.get(count, f"{count} views")
            words += "" if wanted else " or more"
            raise UserError(
                f"JointEmbedding compares {words}, the data recipe makes {num_views}: change "
                "--data.recipe or --model.objective"
            )


def width_of(projector: nn.Module, in_features: int) -> int:
    """Of what a projector makes: its `out_features`, or those of its last linear layer."""
    linear = [m.out_features for m in projector.modules() if isinstance(m, nn.Linear)]
    return int(getattr(projector, "out_features", linear[-1] if linear else in_features))
