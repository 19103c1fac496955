"""Compose blocks over a backbone and train them in isolation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from blocklearn.backbones.create import create_backbone
from blocklearn.backbones.cut import Grouping, cut_backbone, group_stages
from blocklearn.backbones.input_spec import InputSpec, input_of
from blocklearn.backbones.stage import Stage, StageSpec
from blocklearn.backbones.video_transformer import fix_positions
from blocklearn.batch import Batch
from blocklearn.blocks.balanced import Blocks, named_blocks
from blocklearn.blocks.block import Block
from blocklearn.blocks.costs import products_of_blocks
from blocklearn.blocks.data_check import require_fit
from blocklearn.blocks.features import FeatureSpec, feature_specs, frame_features, stage_features
from blocklearn.blocks.identical_projectors import copy_first_projector
from blocklearn.blocks.mask_check import masked_tokens
from blocklearn.blocks.noise import NoiseChoice, build_noise
from blocklearn.blocks.old_arguments import accept_old_arguments
from blocklearn.blocks.recompute import Recompute
from blocklearn.blocks.settings import (
    BlockSettings,
    NetworkOptions,
    SharedChoices,
    UpdateOptions,
    arguments_of,
)
from blocklearn.errors import UserError
from blocklearn.masks.mask import Mask
from blocklearn.objectives.objective import NoObjective, Objective, ObjectiveFactory
from blocklearn.optim.warmup_cosine import LRSchedule, WarmupCosine
from blocklearn.training.block_metric import BlockMetric
from blocklearn.training.execution import Execution
from blocklearn.training.lightning_walk import LightningWalk
from blocklearn.training.schedule import Schedule
from blocklearn.training.update_rule import OptimizerFactory, UpdateRule
from blocklearn.weights.checkpoint import (
    PUBLISHED,
    STRUCTURE,
    as_large_as,
    check_fit,
    is_checkpoint,
    load_weights,
    read_checkpoint,
    read_weights,
)
from blocklearn.weights.external import file_name, load_published, sort_published
from blocklearn.weights.structure import NetworkStructure


class BlockwiseModule(LightningWalk):
    """A timm backbone cut into blocks, each trained by an objective and an optimizer of its own.

    Args:
        objective: what every block optimizes; built from the `StageSpec` of its last stage.
        backbone: a model of timm, by name.
        blocks: `per_stage`, `per_unit` (every residual unit), `end_to_end`, a number of blocks of
            equally many units, `balanced:4` (four of equal memory), or stages by name, `[[layer1],
            [layer2], [layer3, layer4]]`; with the stem apart `[[stem], [layer1], ...]`, finer
            `[[layer1.0], [layer1], ...]` (a stage is named by its last module and begins behind the
            one before), or overlapping `[[layer1, layer2], [layer2, layer3], ...]` (LoCo, arXiv
            2008.01342). `[]` is a block with an objective and no stage of its own, on the frozen
            output of the block before.
        mask: which tokens of a vision transformer training hides; they are dropped before the first
            block, and all blocks see the same ones. Null for none.
        noise: added to what a block hands on; `all` is Gaussian, 0.25 of the tensor's standard
            deviation, `hw`, `height` and `channel` have other spreads, `none` is none, and a
            `Noise` may be your own.
        recompute: what the backward pass computes again rather than keeps, to save memory;
            `nothing`; `cheap` (a stem that ends in a pooling; about 1 % of the time); `views` (all
            views but the last, one view's graph at a time); `units` (every residual unit). The
            result is the same.
        per_block: in what single blocks differ, `{block2: {lr_factor: 0.5, noise: none}}`.
        network: how the network is built.
        optimizer: the optimizer of every block; built from its parameters, its `lr` is the peak of
            the curve.
        lr_schedule: the learning rate's curve; by the batch count, `WarmupCosine` where null.
        schedule: which blocks learn when; every block from every batch where null.
        update: how a loss becomes an update: clipping, accumulation, what is not finite.
        execution: which block runs when, and where; one after the other where null.
        metrics: what else is logged of every block.
        checkpoint: weights to load, of `blocklearn fit` or a published file.

    Raises:
        UserError: for an unknown backbone, a cut or a block that there is not, or a checkpoint that
            does not fit.
    """

    @accept_old_arguments
    def __init__(
        self,
        objective: ObjectiveFactory,
        backbone: str = "resnet50",
        blocks: Blocks = "per_stage",
        mask: Mask | None = None,
        noise: NoiseChoice = None,
        recompute: Recompute = "cheap",
        per_block: dict[str, BlockSettings] | None = None,
        network: NetworkOptions = NetworkOptions(),
        optimizer: OptimizerFactory = AdamW,
        lr_schedule: LRSchedule | None = None,
        schedule: Schedule | None = None,
        update: UpdateOptions = UpdateOptions(),
        execution: Execution | None = None,
        metrics: list[BlockMetric] | None = None,
        checkpoint: str | None = None,
    ) -> None:
        rule = UpdateRule(optimizer, lr_schedule or WarmupCosine(), **asdict(update))
        super().__init__(rule, schedule, execution, metrics or ())
        self.patches = network.patches
        kwargs = dict(network.backbone_kwargs or {})
        whole = create_backbone(backbone, network.pretrained, network.small_stem, **kwargs)
        if network.fixed_positions:
            fix_positions(whole)
        blocks = named_blocks(blocks, whole, network.small_stem, self.patches)
        stages = cut_backbone(whole, blocks, self.patches)
        shared = SharedChoices(objective, noise, recompute, per_block or {})
        self.blocks = nn.ModuleList(self._put_together(stages, blocks, shared))
        for block in self.walked:
            block.objective.join(block.index, self.walked)
        self.mask, self.masked_tokens = mask, masked_tokens(mask, self.walked, self.patches)
        self.structure = NetworkStructure(
            backbone,
            [[stage.spec.name for stage in block.trained_stages] for block in self.walked],
            kwargs,
            network.small_stem,
            asdict(self.patches) if self.patches else None,
        )
        if network.compile:
            for stage in stages:
                stage.compile()
        if network.identical_projectors:
            copy_first_projector(self.walked)
        if network.channels_last:
            self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if checkpoint is not None:
            self.load_checkpoint(checkpoint)

    def _put_together(
        self, stages: Sequence[Stage], blocks: Grouping, shared: SharedChoices
    ) -> Iterator[Block]:
        names, units = zip(*((stage.spec.name, stage.units) for stage in stages), strict=True)
        grouping = group_stages(names, blocks, units)
        for index, (group, own) in enumerate(zip(grouping, shared.of(len(grouping)), strict=True)):
            borrowed = _shared(grouping, index)
            reached = max(position for part in grouping[: index + 1] for position in part)
            yield Block(
                index,
                [stages[position] for position in group[borrowed:]],
                _build_objective(own, stages[reached].spec),
                build_noise(own.noise) if group else None,
                self.rule,
                self.schedule,
                own,
                borrowed=[stages[position] for position in group[:borrowed]],
                lends=_shared(grouping, index + 1),
                spec=stages[reached].spec,
            )

    @property
    def walked(self) -> Sequence[Block]:
        return self.blocks  # pyright: ignore[reportReturnType]

    def forward(self, x: Tensor) -> Tensor:
        """Features of the backbone's last stage: `(B, 3, H, W)` to `(B, C, H / stride, W /
        stride)`, with the whole graph. Equal to the backbone's own `forward_features`."""
        for block in self.walked:
            x = block(x)
        return x

    @property
    def input_spec(self) -> InputSpec:
        """What it takes; a data module states what it makes."""
        return input_of(self.modules())

    def feature_specs(
        self, frames: bool = False, kinds: Sequence[str] | None = None
    ) -> list[FeatureSpec]:
        """What `stage_features`, or `frame_features`, makes, in its order."""
        return feature_specs(self.walked, frames, kinds)

    def stage_features(self, x: Tensor, kinds: Sequence[str] | None = None) -> Iterator[Tensor]:
        """Vectors worth probing, each `(B, width)`, as `feature_specs` lists them."""
        return stage_features(self.walked, x, kinds)

    def frame_features(self, x: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Before the mean over time, for sound: each `(B, width, T)`, its samples per position."""
        return frame_features(self.walked, x)

    def costs(self) -> Sequence[float]:
        return products_of_blocks(self, self._datamodule)

    def setup(self, stage: str) -> None:
        self.require_fit(self._datamodule, learns=stage == "fit")

    def require_fit(self, data: object, learns: bool = True) -> None:
        """Refuse data that this network cannot take (`blocklearn.blocks.data_check`).

        Raises:
            UserError: saying what fits.
        """
        require_fit(self, data, learns)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Features by `STAGE/KIND`, with the labels and indices of their samples."""
        values = self.stage_features(batch.views[0])
        features = {
            spec.key: value for spec, value in zip(self.feature_specs(), values, strict=True)
        }
        return {**features, "label": batch.label, "index": batch.index}

    def backbone_state_dict(self) -> dict[str, Tensor]:
        """The weights that `forward_features` uses, under timm's own names. Where the family has
        none behind it (VGG, MobileNetV3 and ConvNeXt have) they fit `timm.create_model(...,
        num_classes=0)` strictly."""
        return {
            name: tensor
            for block in self.walked
            for stage in block.stages
            for name, tensor in stage.backbone_state_dict().items()  # pyright: ignore
        }

    @classmethod
    def load_from_checkpoint(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, checkpoint_path: str | Path, objective: ObjectiveFactory | None = None, **changes: Any
    ) -> Self:
        """The network that `blocklearn fit` saved, in eval mode, from the path alone.

        It computes features (`forward`, `stage_features`) and cannot be trained, since a checkpoint
        does not say how its objectives are built. With `objective`, as it was trained with, it can,
        and `stage_features` has what they publish.

        Args:
            checkpoint_path: of a checkpoint.
            objective: as for `BlockwiseModule`; null for none.
            changes: further arguments of `BlockwiseModule`.

        Raises:
            UserError: for a file that is no checkpoint of `blocklearn fit`, or does not fit
                `objective`.
        """
        content = read_checkpoint(checkpoint_path, weights_suffice=True)
        with as_large_as(content, checkpoint_path):
            network = cls(objective or NoObjective, **arguments_of(content[STRUCTURE]), **changes)
        network._load_own(content["state_dict"], checkpoint_path)
        return network.eval()

    def load_checkpoint(self, path: str) -> None:
        """Load the weights of our own checkpoint, or those of a published file: its backbone, and
        its pooling heads where it has any (`blocklearn.weights.external`).

        Raises:
            UserError: where it cannot be read or does not fit this network.
        """
        content = read_weights(path)
        if not is_checkpoint(content):
            load_published(
                sort_published(content, path),
                self.backbone_state_dict(),
                self.published_tensors(),
                path,
            )
            return
        self._require_same_structure(content[STRUCTURE], f"checkpoint: {path}")
        self._load_own(content["state_dict"], path)

    def _load_own(self, weights: Mapping[str, Tensor], path: str | Path) -> None:
        """But for those of objectives where this network has none."""
        if all(isinstance(block.objective, NoObjective) for block in self.walked):
            weights = {name: weights[name] for name in self.state_dict() if name in weights}
        load_weights(self, weights, path)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from another network's checkpoint, in one line and before anything is
        overwritten.

        Raises:
            UserError: saying what differs.
        """
        super().on_load_checkpoint(checkpoint)
        theirs = NetworkStructure.checked(checkpoint.get(STRUCTURE), "this checkpoint")
        self._require_same_structure(theirs, "ckpt_path: this checkpoint")
        check_fit(
            self.state_dict(),
            checkpoint["state_dict"],
            "ckpt_path: this checkpoint does not fit this network",
            "Go on with the configuration that it was trained with (config.yaml in its run folder)",
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[STRUCTURE] = self.structure.as_plain()
        checkpoint[PUBLISHED] = self._published_places()

    def published_tensors(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of what objectives publish, by the stage they sit on and their name in a
        file: those of a context network begin with `context.`."""
        heads: dict[str, dict[str, Tensor]] = {}
        for block in self.walked:
            stage = block.published_at(heads)
            for published in block.objective.published():
                for name, tensor in published.module.state_dict().items():
                    heads.setdefault(stage, {})[file_name(published.kind, name)] = tensor
        return heads

    def _published_places(self) -> list[dict[str, Any]]:
        """Where in the state of this network the same tensors are, so that they can be read from a
        checkpoint without the objectives."""
        places: list[dict[str, Any]] = []
        for block in self.walked:
            stage = block.published_at([place["stage"] for place in places])
            names = {id(module): name for name, module in block.objective.named_modules()}
            for published in block.objective.published():
                prefix = f"blocks.{block.index}.objective.{names[id(published.module)]}."
                places.append({"stage": stage, "kind": published.kind, "prefix": prefix})
        return places

    def _require_same_structure(self, theirs: NetworkStructure, what: str) -> None:
        for difference in self.structure.differences(theirs):
            raise UserError(f"{what} was trained with {difference}")


def _build_objective(own: BlockSettings, spec: StageSpec) -> Objective:
    assert own.objective is not None
    if own.projector is None:
        return own.objective(spec)
    try:
        return own.objective(spec, projector=own.projector)  # pyright: ignore[reportCallIssue]
    except TypeError as error:
        if "'projector'" not in str(error):
            raise
        kind = type(own.objective(spec)).__name__
        raise UserError(
            f"per_block: the {kind} on {spec.name} has no projector; leave it out"
        ) from error


def _shared(grouping: Sequence[Sequence[int]], index: int) -> int:
    """How many stages block `index` shares with the one before."""
    if not 0 < index < len(grouping):
        return 0
    return len(set(grouping[index - 1]) & set(grouping[index]))
