"""Compose blocks over a backbone and train them in isolation."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from blocklearn.backbones.create import create_backbone
from blocklearn.backbones.cut import Grouping, cut_backbone, group_stages
from blocklearn.backbones.patches import Patches
from blocklearn.backbones.stage import StageSpec
from blocklearn.batch import Batch
from blocklearn.blocks.block import Block, BlockSettings
from blocklearn.blocks.data_check import require_fit
from blocklearn.blocks.noise import NoiseChoice, build_noise
from blocklearn.blocks.recompute import Recompute
from blocklearn.errors import UserError
from blocklearn.objectives.objective import (
    NoObjective,
    Objective,
    ObjectiveFactory,
    ProjectorFactory,
)
from blocklearn.optim.warmup_cosine import LRSchedule, WarmupCosine
from blocklearn.training.finite import Policy
from blocklearn.training.lightning_walk import IsolatedWalk
from blocklearn.training.schedule import Schedule
from blocklearn.training.update_rule import OptimizerFactory, UpdateRule
from blocklearn.weights.checkpoint import (
    STRUCTURE,
    as_large_as,
    check_fit,
    is_checkpoint,
    load_weights,
    read_checkpoint,
    read_weights,
)
from blocklearn.weights.external import KEPT_PARTS, load_published, sort_published


class FeatureSpec(NamedTuple):
    """A vector worth probing.

    Attributes:
        stage: name of the stage, e.g. `layer1`.
        index: position of the stage, from 1.
        kind: `raw`, `head` or `context`.
        width: number of components.
    """

    stage: str
    index: int
    kind: str
    width: int

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.kind}"


class BlockwiseModule(IsolatedWalk):
    """A timm backbone cut into blocks, each trained by an objective and an optimizer of its own.

    Args:
        backbone: timm model name, e.g. `resnet50`.
        objective: builds one block's objective from the `StageSpec` of its last stage.
        blocks: `per_stage`, `per_unit` (a block for every residual unit), `end_to_end`, or stage
            names block by block: `[[layer1], [layer2], [layer3, layer4]]`, with the stem apart
            `[[stem], [layer1], ...]`, finer `[[layer1.0], [layer1], ...]` (a stage is named by its
            last module and begins behind the one before), or overlapping `[[layer1, layer2],
            [layer2, layer3], ...]` (LoCo, arXiv 2008.01342). `[]` is a block with an objective and
            no stage of its own, on the frozen output of the block before.
        noise: `none`, `all` (Gaussian, 0.25 of the tensor's standard deviation), `hw`, `height`,
            `channel` (other spreads), or a `Noise`; for all blocks, or a list of one a block.
        objectives: in place of `objective`, one a block; null for `objective`.
        patches: cut images into overlapping patches, each of which passes the backbone by itself;
            null for whole images.
        optimizer: builds one block's optimizer from its parameters; its `lr` is the peak of the
            curve.
        lr_schedule: learning-rate curve, a function of the batch count.
        schedule: which blocks learn when; every block from every batch where null.
        lr_reference_batch: where set, the peak learning rate is the optimizer's times batch size /
            this number.
        gradient_clip_norm: largest gradient norm of a block, each block by itself; null for no
            clipping.
        accumulate_batches: an update every so many batches; `global_step` still counts batches.
        identical_projectors: start the projectors of all blocks as copies of the first (arXiv
            2302.01647, released code).
        projectors: in place of the objective's projector, one a block; null for the objective's
            own.
        lr_factors: on the learning rate, one a block.
        loss_weights: on the loss before the gradient is taken, one a block. It matters where a
            stage is shared and under weight decay; an optimizer that adapts to the gradient's size
            cancels most of it.
        stop_epochs: a block learns from epochs before this one only, and its learning-rate curve
            ends there; one a block, null for the whole run.
        recompute: which activations a block's backward pass computes again rather than keeps, to
            save memory: `nothing`; `cheap` (a stem that ends in a pooling; about 1 % of the time);
            `views` (all views but the last, one view's graph at a time); `units` (every residual
            unit). For all blocks, or a list of one a block. The result is the same.
        compile: run every stage through `torch.compile`.
        small_stem: keep the size of small images: stem convolution 3x3 with stride 1, no max-pool.
        backbone_kwargs: passed to `timm.create_model`.
        pretrained: start from timm's published weights.
        channels_last: keep convolutions, and so the maps, in NHWC order in memory; often faster.
        non_finite: where a block's loss or gradient is infinite or no number, `stop` the run, or
            `skip` this block's update (`blocklearn.training.finite`).
        non_finite_limit: dropped updates in a row of one block that stop the run all the same.
        checkpoint: a checkpoint of `blocklearn fit`, or a published file of weights, to load: what
            to probe, or where to start from.

    Raises:
        UserError: for an unknown backbone, a cut that it does not have, a list that has not one
            entry a block, or a checkpoint that does not fit.
    """

    def __init__(
        self,
        objective: ObjectiveFactory,
        backbone: str = "resnet50",
        blocks: Grouping = "per_stage",
        noise: NoiseChoice | list[NoiseChoice] = None,
        optimizer: OptimizerFactory = AdamW,
        lr_schedule: LRSchedule | None = None,
        schedule: Schedule | None = None,
        lr_reference_batch: int | None = None,
        gradient_clip_norm: float | None = None,
        accumulate_batches: int = 1,
        identical_projectors: bool = False,
        objectives: list[ObjectiveFactory | None] | None = None,
        projectors: list[ProjectorFactory | None] | None = None,
        lr_factors: list[float] | None = None,
        loss_weights: list[float] | None = None,
        stop_epochs: list[int | None] | None = None,
        recompute: Recompute | list[Recompute] = "cheap",
        compile: bool = False,
        small_stem: bool = False,
        patches: Patches | None = None,
        backbone_kwargs: dict[str, Any] | None = None,
        pretrained: bool = False,
        channels_last: bool = False,
        non_finite: Policy = "stop",
        non_finite_limit: int = 10,
        checkpoint: str | None = None,
    ) -> None:
        rule = UpdateRule(
            optimizer,
            lr_schedule or WarmupCosine(),
            lr_reference_batch,
            gradient_clip_norm,
            accumulate_batches,
            non_finite,
            non_finite_limit,
        )
        super().__init__(rule, schedule)
        # as a checkpoint holds them
        patches = Patches(**patches) if isinstance(patches, dict) else patches
        network = create_backbone(backbone, pretrained, small_stem, **(backbone_kwargs or {}))
        stages = cut_backbone(network, blocks, patches)
        grouping = group_stages([stage.spec.name for stage in stages], blocks)
        choices = one_a_block(
            len(grouping),
            objectives=objectives,
            noise=noise,
            projectors=projectors,
            lr_factors=lr_factors or 1.0,
            loss_weights=loss_weights or 1.0,
            stop_epochs=stop_epochs,
            recompute=recompute,
        )
        self.patches = patches
        self.blocks = nn.ModuleList()
        for index, (group, own) in enumerate(zip(grouping, choices, strict=True)):
            shared = _shared(grouping, index)
            spec = stages[max(position for part in grouping[: index + 1] for position in part)].spec
            block = Block(
                index,
                [stages[position] for position in group[shared:]],
                _build_objective(own["objectives"] or objective, spec, own["projectors"]),
                build_noise(own["noise"]) if group else None,
                self.rule,
                self.schedule,
                BlockSettings(
                    own["lr_factors"], own["loss_weights"], own["stop_epochs"], own["recompute"]
                ),
                borrowed=[stages[position] for position in group[:shared]],
                lends=_shared(grouping, index + 1),
                spec=spec,
            )
            self.blocks.append(block)
        self.structure = {
            "backbone": backbone,
            "backbone_kwargs": dict(backbone_kwargs or {}),
            "small_stem": small_stem,
            "patches": asdict(patches) if patches else None,
            "blocks": [
                [stage.spec.name for stage in block.trained_stages] for block in self.walked
            ],
        }
        if compile:
            for stage in stages:
                stage.compile()
        if identical_projectors:
            self._copy_first_projector()
        if channels_last:
            self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if checkpoint is not None:
            self.load_checkpoint(checkpoint)

    @property
    def walked(self) -> Sequence[Block]:
        return self.blocks  # pyright: ignore[reportReturnType]

    def forward(self, x: Tensor) -> Tensor:
        """Features of the backbone's last stage: `(B, 3, H, W)` to `(B, C, H / stride, W /
        stride)`, with the whole graph. Equal to the backbone's own `forward_features`."""
        for block in self.walked:
            x = block(x)
        return x

    def feature_specs(self) -> list[FeatureSpec]:
        """What `stage_features` makes, in its order: `raw`, the global average at the end of every
        stage, and `head` or `context`, what the objective of a block publishes. Where an empty
        block has the same as the block before, its stage is called `STAGE.BLOCK`."""
        features: list[FeatureSpec] = []
        index = 0
        for block in self.walked:
            for spec in block.specs:
                index += 1
                features.append(FeatureSpec(spec.name, index, "raw", spec.channels))
            if block.objective.pooled_width is not None:
                kind, width = block.objective.pooled_kind, block.objective.pooled_width
                stage = block.published_at([spec.stage for spec in features if spec.kind == kind])
                features.append(FeatureSpec(stage, index, kind, width))
        return features

    def stage_features(self, x: Tensor) -> Iterator[Tensor]:
        """Vectors worth probing, each `(B, width)`, as `feature_specs` lists them."""
        for block in self.walked:
            for stage in block.stages:
                x = stage(x)
                yield stage.spec.average(x)  # pyright: ignore
            if block.objective.pooled_width is not None:
                yield block.objective.pooled(x)

    def frame_features(self, x: Tensor) -> Iterator[tuple[Tensor, int]]:
        """The same before the mean over time, for sound: each `(B, width, T)`, with its samples per
        position."""
        for block in self.walked:
            for stage in block.stages:
                x = stage(x)
                yield x, stage.spec.stride  # pyright: ignore
            if block.objective.pooled_width is not None:
                yield block.objective.framewise(x), block.spec.stride

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
            network = cls(objective or NoObjective, **content[STRUCTURE], **changes)
        weights = content["state_dict"]
        if objective is None:
            weights = {name: weights[name] for name in network.state_dict() if name in weights}
        load_weights(network, weights, checkpoint_path)
        return network.eval()

    def load_checkpoint(self, path: str) -> None:
        """Load the weights of a checkpoint that `blocklearn fit` wrote, or those of a published
        file: its backbone, and its pooling heads where it has any (`blocklearn.weights.external`).

        Raises:
            UserError: where it cannot be read or does not fit this network.
        """
        content = read_weights(path)
        if not is_checkpoint(content):
            load_published(
                sort_published(content, path), self.backbone_state_dict(), self._heads(), path
            )
            return
        theirs = content[STRUCTURE]
        self._require_same_structure(theirs, f"checkpoint: {path}")
        load_weights(self, content["state_dict"], path)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from another network's checkpoint, in one line and before anything is
        overwritten.

        Raises:
            UserError: saying what differs.
        """
        super().on_load_checkpoint(checkpoint)
        self._require_same_structure(checkpoint.get(STRUCTURE, {}), "ckpt_path: this checkpoint")
        check_fit(
            self.state_dict(),
            checkpoint["state_dict"],
            "ckpt_path: this checkpoint does not fit this network",
            "Go on with the configuration that it was trained with (config.yaml in its run folder)",
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[STRUCTURE] = self.structure

    def _heads(self) -> dict[str, nn.Module]:
        """What objectives publish, by the stage it sits on, as in `feature_specs`; a context
        network's tensors are named `context.NAME`."""
        heads: dict[str, nn.Module] = {}
        for block in self.walked:
            for part, prefix in KEPT_PARTS.items():
                module = getattr(block.objective, part, None)
                if module is not None and module.state_dict():
                    heads[block.published_at(heads)] = (
                        nn.ModuleDict({part: module}) if prefix else module
                    )
        return heads

    def _require_same_structure(self, theirs: dict[str, Any], what: str) -> None:
        for part, own in self.structure.items():
            if theirs.get(part) != own:
                raise UserError(
                    f"{what} was trained with {part} {theirs.get(part)}, this configuration says "
                    f"{own}"
                )

    def _copy_first_projector(self) -> None:
        projectors = [getattr(block.objective, "projector", None) for block in self.walked]
        for block, projector in zip(self.walked, projectors, strict=True):
            if projector is None:
                kind = type(block.objective).__name__
                raise UserError(
                    f"identical_projectors: the {kind} of {block.name} has no projector; leave it "
                    "out"
                )
            check_fit(
                projector.state_dict(),
                projectors[0].state_dict(),  # pyright: ignore[reportOptionalMemberAccess]
                f"identical_projectors: the projectors of block1 and {block.name} differ",
                "Give all blocks the same, or leave it out",
            )
            projector.load_state_dict(projectors[0].state_dict())  # pyright: ignore[reportOptionalMemberAccess]


def one_a_block(count: int, **choices: Any) -> list[dict[str, Any]]:
    """The choices of each block, from lists of one a block, or from one value for all.

    Raises:
        UserError: for a list of another length.
    """
    for name, choice in choices.items():
        if isinstance(choice, list) and len(choice) != count:
            other = "cheap for all" if name == "recompute" else "null for none"
            raise UserError(
                f"model: {count} blocks, but {len(choice)} {name}; give one a block, or "
                f"--model.{name} {other}"
            )
    return [
        {
            name: choice[block] if isinstance(choice, list) else choice
            for name, choice in choices.items()
        }
        for block in range(count)
    ]


def _build_objective(
    objective: ObjectiveFactory, spec: StageSpec, projector: ProjectorFactory | None
) -> Objective:
    if projector is None:
        return objective(spec)
    try:
        return objective(spec, projector=projector)  # pyright: ignore[reportCallIssue]
    except TypeError as error:
        if "'projector'" not in str(error):
            raise
        kind = type(objective(spec)).__name__
        raise UserError(
            f"projectors: the {kind} on {spec.name} has no projector; leave the list out"
        ) from error


def _shared(grouping: Sequence[Sequence[int]], index: int) -> int:
    """How many stages block `index` shares with the one before."""
    if not 0 < index < len(grouping):
        return 0
    return len(set(grouping[index - 1]) & set(grouping[index]))
