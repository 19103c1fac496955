"""What can differ between blocks, and what all of them share."""

import math
from dataclasses import dataclass, field
from typing import Any, get_args

from blocklearn.backbones.patches import Patches
from blocklearn.blocks.noise import NoiseChoice
from blocklearn.blocks.recompute import Recompute
from blocklearn.errors import UserError
from blocklearn.objectives.objective import ObjectiveFactory, ProjectorFactory
from blocklearn.training.finite import Policy
from blocklearn.weights.structure import NetworkStructure


@dataclass(frozen=True)
class BlockSettings:
    """All that can differ between blocks. Null is what the other blocks have.

    Attributes:
        objective: what the block optimizes.
        projector: in place of the objective's own.
        noise: on the block's output; `none` for none.
        recompute: which activations its backward pass computes again rather than keeps
            (`blocklearn.blocks.recompute`).
        lr_factor: on the learning rate, > 0.
        loss_weight: on the loss before the gradient is taken, > 0; the log has the loss without it.
            It matters where a stage is shared and under weight decay; an optimizer that adapts to
            the gradient's size cancels most of it.
        stop_epoch: the block learns from epochs before this one only, and its learning-rate curve
            ends there; null for the whole run.

    Raises:
        UserError: for values out of range.
    """

    objective: ObjectiveFactory | None = None
    projector: ProjectorFactory | None = None
    noise: NoiseChoice = None
    recompute: Recompute | None = None
    lr_factor: float = 1.0
    loss_weight: float = 1.0
    stop_epoch: int | None = None

    def __post_init__(self) -> None:
        sound = all(0 < factor < math.inf for factor in (self.lr_factor, self.loss_weight))
        if not sound or (self.stop_epoch is not None and self.stop_epoch < 1):
            raise UserError(
                "model: lr_factor and loss_weight must be positive and finite and stop_epoch at "
                f"least 1, got {self.lr_factor}, {self.loss_weight} and {self.stop_epoch}"
            )
        if self.recompute not in (None, *get_args(Recompute)):
            raise UserError(
                f"model: recompute is one of {', '.join(get_args(Recompute))}, got "
                f"{self.recompute!r}"
            )


@dataclass(frozen=True)
class NetworkOptions:
    """How the network is built.

    Attributes:
        backbone_kwargs: passed to `timm.create_model`.
        small_stem: keep the size of small images: stem convolution 3x3 with stride 1, no max-pool.
        patches: cut images into overlapping patches, each of which passes the backbone by itself;
            null for whole images.
        pretrained: start from timm's published weights.
        identical_projectors: start the projectors of all blocks as copies of the first (arXiv
            2302.01647, released code).
        channels_last: keep convolutions, and so the maps, in NHWC order in memory; often faster.
        compile: run every stage through `torch.compile`.
        fixed_positions: a vision transformer's positions are fixed sines and cosines, as MAE has
            them, not learned.
    """

    backbone_kwargs: dict[str, Any] | None = None
    small_stem: bool = False
    patches: Patches | None = None
    pretrained: bool = False
    identical_projectors: bool = False
    channels_last: bool = False
    compile: bool = False
    fixed_positions: bool = False


@dataclass(frozen=True)
class UpdateOptions:
    """How a loss becomes an update, besides optimizer and learning rate.

    Attributes:
        lr_reference_batch: where set, the peak learning rate is the optimizer's times batch size /
            this number.
        gradient_clip_norm: largest gradient norm of a block, each block by itself; null for no
            clipping.
        accumulate_batches: an update every so many batches; `global_step` still counts batches.
        non_finite: where a block's loss or gradient is infinite or no number, `stop` the run, or
            `skip` this block's update (`blocklearn.training.finite`).
        non_finite_limit: dropped updates in a row of one block that stop the run all the same.
    """

    lr_reference_batch: int | None = None
    gradient_clip_norm: float | None = None
    accumulate_batches: int = 1
    non_finite: Policy = "stop"
    non_finite_limit: int = 10


@dataclass(frozen=True)
class SharedChoices:
    """What every block has where its own settings say nothing."""

    objective: ObjectiveFactory
    noise: NoiseChoice = None
    recompute: Recompute = "cheap"
    per_block: dict[str, BlockSettings] = field(default_factory=dict)

    def of(self, count: int) -> list[BlockSettings]:
        """The settings of each of `count` blocks, with nothing left open but the projector.

        Raises:
            UserError: for a block that there is not.
        """
        names = [f"block{number}" for number in range(1, count + 1)]
        for name in self.per_block:
            if name not in names:
                raise UserError(
                    f"model: per_block has settings for {name}, the network has {', '.join(names)}"
                )
        return [self._complete(self.per_block.get(name) or BlockSettings()) for name in names]

    def _complete(self, own: BlockSettings) -> BlockSettings:
        return BlockSettings(
            own.objective or self.objective,
            own.projector,
            self.noise if own.noise is None else own.noise,
            own.recompute or self.recompute,
            own.lr_factor,
            own.loss_weight,
            own.stop_epoch,
        )


def arguments_of(structure: NetworkStructure) -> dict[str, Any]:
    """Those of `BlockwiseModule` that make a network of this structure."""
    patches = Patches(**structure.patches) if structure.patches else None
    options = NetworkOptions(structure.backbone_kwargs, structure.small_stem, patches)
    blocks = [list(block) for block in structure.blocks] or "per_stage"
    return {"backbone": structure.backbone, "blocks": blocks, "network": options}
