"""Compose blocks over a backbone and train them in isolation."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from blocklearn.batch import Batch
from blocklearn.blocks.block import Block
from blocklearn.blocks.checkpoint import STRUCTURE, load_weights, read_checkpoint
from blocklearn.blocks.noise import Noise, build_noise
from blocklearn.blocks.objective import ObjectiveFactory
from blocklearn.blocks.schedule import Schedule
from blocklearn.blocks.stage import Grouping, Stage, create_backbone, cut_backbone, group_stages
from blocklearn.blocks.update import OptimizerFactory, UpdateRule
from blocklearn.blocks.walk import IsolatedWalk
from blocklearn.errors import UserError
from blocklearn.optim.warmup_cosine import LRSchedule, WarmupCosine


class FeatureSpec(NamedTuple):
    """A vector worth probing.

    Attributes:
        stage: name of the stage, e.g. `layer1`.
        index: position of the stage, from 1.
        kind: `raw` or `head`.
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
        blocks: `per_stage`, `end_to_end`, or stage names block by block, e.g. `[[layer1], [layer2], [layer3, layer4]]`.
        noise: `none`, `all` (Gaussian, 0.25 of the tensor's standard deviation), or a `Noise`.
        optimizer: builds one block's optimizer from its parameters; its `lr` is the peak of the curve.
        lr_schedule: learning-rate curve, a function of the batch count.
        schedule: which blocks learn when; every block from every batch where null.
        lr_reference_batch: where set, the peak learning rate is the optimizer's times batch size / this number.
        gradient_clip_norm: largest gradient norm of a block, each block by itself; null for no clipping.
        accumulate_batches: an update every so many batches; `global_step` still counts batches.
        identical_projectors: start the projectors of all blocks as copies of the first (arXiv 2302.01647, released code).
        backbone_kwargs: passed to `timm.create_model`.
        pretrained: start from timm's published weights.
        channels_last: keep convolutions, and so the maps, in NHWC order in memory; often faster.
        checkpoint: a checkpoint of `blocklearn fit` whose weights to load: what to probe, or where to start from.

    Raises:
        UserError: for an unknown backbone, a cut that it does not have, or a checkpoint that does not fit.
    """

    def __init__(
        self,
        objective: ObjectiveFactory,
        backbone: str = "resnet50",
        blocks: Grouping = "per_stage",
        noise: Noise | Literal["none", "all"] | None = None,
        optimizer: OptimizerFactory = AdamW,
        lr_schedule: LRSchedule | None = None,
        schedule: Schedule | None = None,
        lr_reference_batch: int | None = None,
        gradient_clip_norm: float | None = None,
        accumulate_batches: int = 1,
        identical_projectors: bool = False,
        backbone_kwargs: dict[str, Any] | None = None,
        pretrained: bool = False,
        channels_last: bool = False,
        checkpoint: str | None = None,
    ) -> None:
        rule = UpdateRule(
            optimizer, lr_schedule or WarmupCosine(), lr_reference_batch, gradient_clip_norm, accumulate_batches
        )
        super().__init__(rule, schedule)
        stages = cut_backbone(create_backbone(backbone, pretrained, **(backbone_kwargs or {})))
        grouping = group_stages([stage.spec.name for stage in stages], blocks)
        self.blocks = nn.ModuleList(
            self._build_block(index, [stages[position] for position in group], objective, build_noise(noise))
            for index, group in enumerate(grouping)
        )
        self.structure = {
            "backbone": backbone,
            "backbone_kwargs": dict(backbone_kwargs or {}),
            "blocks": [[spec.name for spec in block.specs] for block in self.walked],
        }
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
        """Features of the backbone's last stage: `(B, 3, H, W)` to `(B, C, H / stride, W / stride)`, with the whole
        graph. Equal to the backbone's own `forward_features`."""
        for block in self.walked:
            x = block(x)
        return x

    def feature_specs(self) -> list[FeatureSpec]:
        """What `stage_features` makes, in its order: `raw`, the global average at the end of every stage, and `head`,
        the output of the pooling at the end of every block whose objective has one."""
        features: list[FeatureSpec] = []
        index = 0
        for block in self.walked:
            for spec in block.specs:
                index += 1
                features.append(FeatureSpec(spec.name, index, "raw", spec.channels))
            if block.objective.pooled_width is not None:
                features.append(FeatureSpec(block.specs[-1].name, index, "head", block.objective.pooled_width))
        return features

    def stage_features(self, x: Tensor) -> Iterator[Tensor]:
        """Vectors worth probing, each `(B, width)`, as `feature_specs` lists them."""
        for block in self.walked:
            for stage in block.stages:
                x = stage(x)
                yield x.mean(dim=(2, 3))
            if block.objective.pooled_width is not None:
                yield block.objective.pooled(x)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Features by `STAGE/KIND`, with the labels and indices of their samples."""
        values = self.stage_features(batch.views[0])
        features = {spec.key: value for spec, value in zip(self.feature_specs(), values, strict=True)}
        return {**features, "label": batch.label, "index": batch.index}

    def backbone_state_dict(self) -> dict[str, Tensor]:
        """The backbone's weights under timm's own names; fits `timm.create_model(..., num_classes=0)` strictly."""
        return {
            name: tensor
            for block in self.walked
            for stage in block.stages
            for name, tensor in stage.state_dict().items()
        }

    def load_checkpoint(self, path: str) -> None:
        """Load the weights of a checkpoint that `blocklearn fit` wrote.

        Raises:
            UserError: where it cannot be read or does not fit this network.
        """
        content = read_checkpoint(path)
        theirs = content[STRUCTURE]
        for part in ("backbone", "backbone_kwargs", "blocks"):
            if theirs[part] != self.structure[part]:
                raise UserError(
                    f"checkpoint: {path} was trained with {part} {theirs[part]}, this configuration says "
                    f"{self.structure[part]}"
                )
        load_weights(self, content["state_dict"], path)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[STRUCTURE] = self.structure

    def _build_block(
        self, index: int, stages: Sequence[Stage], objective: ObjectiveFactory, noise: Noise | None
    ) -> Block:
        return Block(index, stages, objective(stages[-1].spec), noise, self.rule, self.schedule)

    def _copy_first_projector(self) -> None:
        first, *others = [block.objective.get_submodule("projector") for block in self.walked]
        for other in others:
            other.load_state_dict(first.state_dict())
