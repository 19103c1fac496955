"""The contract between a block and what it optimizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.batch import Batch
from blocklearn.errors import UserError
from blocklearn.training.contract import STANDING, Clock, LocalBlock

Tokens = Literal["all", "visible", "any"]


@dataclass(frozen=True)
class LocalBatch:
    """All that an objective may look at.

    Attributes:
        features: of the block's last stage, with graph, one per view, in the layout of the stage,
            e.g. `(B, C, H, W)`. Each is computed when it is first asked for.
        inputs: what the block got, without graph: images, or the features of the block before.
        received: the `extras` that the objective of the block before handed on, by name.
        batch: as the data made it, images and labels untouched. Where stored features stand for the
            images (`CacheFrozenBlocks`), `batch.views` is empty.
        clock: when; `clock.learning` is false in validation.
    """

    features: Sequence[Tensor]
    batch: Batch
    inputs: Sequence[Tensor] = ()
    received: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock = STANDING


class ObjectiveOutput(NamedTuple):
    """What an objective makes of a block's features.

    Attributes:
        loss: scalar, with graph.
        metrics: detached scalars for the log; a criterion says which way is good.
        extras: what the next block's objective receives, by name: tensors, or lists and mappings of
            them. They are cut off from the graph on the way.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    extras: Mapping[str, Any] = {}


class Published(NamedTuple):
    """A feature worth probing, declared once for tables, checkpoints and exports.

    Attributes:
        kind: what it is called in tables and files, e.g. `head` or `context`.
        width: its number of components.
        module: what makes it, kept in exports; part of the objective.
        feature: from the features of the block's last stage to `(B, width)`.
        frames: for sound, the same before the mean over time: `(B, C, T)` to `(B, width, T)`; None
            where there is no value per position.
    """

    kind: str
    width: int
    module: nn.Module
    feature: Callable[[Tensor], Tensor]
    frames: Callable[[Tensor], Tensor] | None = None


class Objective(nn.Module):
    """All that a block optimizes on top of its features. Subclass it, take the block's `StageSpec`
    as first argument, and write `forward`. The other methods do nothing by default.

    Attributes:
        labels: what it learns from: none, one per sample, or one per frame.
        needs_images: whether `forward` looks at `batch.views`, so that the images must be decoded
            even where the features of frozen blocks are stored.
        tokens: of which tokens `forward` takes features: `all` of a view; `visible`, those alone
            that a mask leaves, so that it needs one (`batch.visible`); `any`, with a mask or
            without.
        reads_others: whether other blocks' weights are read after `join`, so that all blocks have
            to lie in one process.
    """

    labels: Literal["none", "sample", "frame"] = "none"
    needs_images: bool = False
    tokens: Tokens = "all"
    reads_others: bool = False

    def join(self, index: int, blocks: Sequence[LocalBlock]) -> None:
        """See the whole network, once, after all blocks are put together and before optimizers are
        built. Not called for a block that is trained by itself.

        Other blocks may be read and copied, never trained: no tensor of theirs may get a gradient
        from here. Keep copies of what is theirs, or keep it in a tuple, so that their parameters
        are not registered twice. Who reads them after this call says so (`reads_others`).

        Args:
            index: of the objective's own block among them, from 0.
            blocks: all of the network, in order.
        """

    def bind(self, stages: Sequence[nn.Module]) -> None:
        """See the stages that the loss reaches, once, after the block is put together and before
        the optimizer is built. The stages belong to the block: keep copies of them, or keep them in
        a tuple, so that their parameters are not registered twice."""

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """The local loss."""
        raise NotImplementedError

    def after_update(self, clock: Clock) -> None:
        """Called after the block's optimizer has stepped."""

    def hand_on(self, local: LocalBatch) -> Mapping[str, Any]:
        """The extras of a block that does not learn in this batch, without graph. Override it where
        a later block cannot do without them."""
        return {}

    def published(self) -> Sequence[Published]:
        """The features worth probing, and the modules to export with the backbone."""
        return ()

    def further(self) -> Sequence[Published]:
        """Features that are probed where they are asked for by their kind, e.g. `projector`; they
        are neither in tables by default nor exported."""
        return ()

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Raise a `UserError` where there is no loss to be had from so many views or such features;
        asked before training.

        Args:
            features: of one sample without content, in the layout of the stage.
            num_views: how many views the data makes.
        """


ObjectiveFactory = Callable[[StageSpec], Objective]
ProjectorFactory = Callable[[int], nn.Module]


class NoObjective(Objective):
    """Has no weights, no loss and no head; a block that carries it can compute features only."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Raises:
        UserError: always.
        """
        raise UserError(
            "a network without objectives computes features and cannot be trained; give "
            "BlockwiseModule, or load_from_checkpoint, an objective"
        )
