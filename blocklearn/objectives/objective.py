"""The contract between a block and what it optimises."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.batch import Batch
from blocklearn.errors import UserError


class ObjectiveOutput(NamedTuple):
    """What an objective makes of a block's features.

    Attributes:
        loss: scalar, with graph.
        metrics: detached scalars for the log; a criterion says which way is good.
        embeddings: one detached tensor a view, `(B, D)`, or empty where the objective has none.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    embeddings: Sequence[Tensor] = ()


class Objective(nn.Module):
    """All that a block optimises on top of its features. Subclass it, take the block's `StageSpec`
    as first argument, and write `forward`; where the objective has a feature worth probing, set
    `pooled_width` and write `pooled` too.

    Attributes:
        pooled_width: components of the feature that `pooled` returns; None where there is none.
        pooled_kind: what that feature is called in tables and files.
        labels: what it learns from: none, one a sample, or one a frame.
    """

    pooled_width: int | None = None
    pooled_kind: str = "head"
    labels: Literal["none", "sample", "frame"] = "none"

    def forward(self, features: Sequence[Tensor], batch: Batch) -> ObjectiveOutput:
        """The local loss.

        Args:
            features: one map a view, in the layout of the stage, e.g. `(B, C, H, W)`.
            batch: the batch they were made from.
        """
        raise NotImplementedError

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Raise a `UserError` where there is no loss to be had from so many views or such features;
        asked before training.

        Args:
            features: of one sample without content, in the layout of the stage.
            num_views: how many views the data makes.
        """

    def pooled(self, features: Tensor) -> Tensor:
        """The `(B, pooled_width)` feature that is published for this objective: its pooling's
        output."""
        raise NotImplementedError

    def framewise(self, features: Tensor) -> Tensor:
        """The same before the mean over time: `(B, C, T)` to `(B, pooled_width, T)`; for sound
        only."""
        raise NotImplementedError


ObjectiveFactory = Callable[[StageSpec], Objective]
ProjectorFactory = Callable[[int], nn.Module]


class NoObjective(Objective):
    """Has no weights, no loss and no head; a block that carries it can compute features only."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()

    def forward(self, features: Sequence[Tensor], batch: Batch) -> ObjectiveOutput:
        """Raises:
        UserError: always.
        """
        raise UserError(
            "a network without objectives computes features and cannot be trained; give "
            "BlockwiseModule, or load_from_checkpoint, an objective"
        )
