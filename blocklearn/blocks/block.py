"""A block: consecutive stages trained by one local objective."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from blocklearn.batch import Batch
from blocklearn.blocks.noise import Noise
from blocklearn.blocks.objective import Objective
from blocklearn.blocks.schedule import Schedule
from blocklearn.blocks.stage import Stage, StageSpec
from blocklearn.blocks.update import UpdateRule
from blocklearn.blocks.walk import IsolatedWalk
from blocklearn.seeding import keyed_generator


class BlockOutput(NamedTuple):
    """What a block makes of a batch.

    Attributes:
        loss: scalar; its graph reaches this block's parameters and no others.
        metrics: detached scalars.
        embeddings: detached, one a view.
        features: the hand-over to the next block, detached, one map a view.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    embeddings: Sequence[Tensor]
    features: list[Tensor]


class Block(IsolatedWalk):
    """Stages, noise and an objective. Inside a `BlockwiseModule` it only computes; given to a `Trainer` by itself, with
    batches whose views are the features of the block before, it is a walk of one.

    Args:
        index: position among the blocks, from 0.
        stages: consecutive stages of the backbone.
        objective: what the block optimises.
        noise: added to the block's output in training, before its own objective and before the hand-over.
        rule: how the block is updated when it is trained by itself.
        schedule: when it learns, when it is trained by itself.
    """

    def __init__(
        self,
        index: int,
        stages: Sequence[Stage],
        objective: Objective,
        noise: Noise | None = None,
        rule: UpdateRule | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(rule or UpdateRule(), schedule)
        self.index = index
        self.stages = nn.ModuleList(stages)
        self.objective = objective
        self.noise = noise

    @property
    def name(self) -> str:
        """The block's name in logs and plots, counted from 1: `block1`."""
        return f"block{self.index + 1}"

    @property
    def specs(self) -> list[StageSpec]:
        return [stage.spec for stage in self.stages]  # pyright: ignore[reportReturnType]

    @property
    def stage_names(self) -> str:
        return "+".join(spec.name for spec in self.specs)

    @property
    def walked(self) -> "Sequence[Block]":
        return [self]

    def forward(self, x: Tensor) -> Tensor:
        """Features of the last stage: `(B, C_in, H_in, W_in)` to `(B, C, H, W)`, without noise."""
        for stage in self.stages:
            x = stage(x)
        return x

    def local_step(self, views: Sequence[Tensor], batch: Batch, noise_keys: tuple[int, ...] = ()) -> BlockOutput:
        """Features, local loss and hand-over of one batch. Pure: it touches no trainer, logger or optimizer.

        Args:
            views: the images, or the hand-over of the block before; cut off from any graph here.
            batch: the batch they come from.
            noise_keys: what the noise depends on beside block and view: (seed, step).
        """
        features = self._features(views, noise_keys)
        loss, metrics, embeddings = self.objective(features, batch)
        return BlockOutput(loss, metrics, embeddings, [f.detach() for f in features])

    @torch.no_grad()
    def hand_over(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Features for the next block without loss or graph."""
        return self._features(views, ())

    def _features(self, views: Sequence[Tensor], noise_keys: tuple[int, ...]) -> list[Tensor]:
        features = [self(view.detach()) for view in views]
        if self.noise is None or not self.training:
            return features
        return [
            self.noise(f, keyed_generator(f.device, *noise_keys, self.index, view)) for view, f in enumerate(features)
        ]
