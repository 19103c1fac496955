"""A block: consecutive stages trained by one local objective."""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from blocklearn.backbones.stage import Stage, StageSpec
from blocklearn.batch import Batch
from blocklearn.blocks.lazy_views import LazyViews, ViewFeatures
from blocklearn.blocks.noise import Noise
from blocklearn.blocks.recompute import Recompute, run
from blocklearn.errors import UserError
from blocklearn.objectives.objective import Objective
from blocklearn.seeding import keyed_generator, keyed_randomness
from blocklearn.training.lightning_walk import IsolatedWalk
from blocklearn.training.schedule import Schedule
from blocklearn.training.update_rule import UpdateRule

OBJECTIVE_STREAM, STAGES_STREAM = -1, -2  # where noise has the number of the view


class BlockOutput(NamedTuple):
    """What a block makes of a batch.

    Attributes:
        loss: scalar; its graph reaches this block's parameters, those of the stages it shares with
            the block before, and no others.
        metrics: detached scalars.
        embeddings: detached, one a view.
        features: the hand-over to the next block, detached, one map a view.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    embeddings: Sequence[Tensor]
    features: list[Tensor]


@dataclass(frozen=True)
class BlockSettings:
    """In what one block differs from the others.

    Attributes:
        lr_factor: on the learning rate, > 0.
        loss_weight: on the loss before the gradient is taken, > 0; the log has the loss without it.
        stop_epoch: the block learns from epochs before this one only, and its learning-rate curve
            ends there; None for the whole run.
        recompute: which activations its backward pass computes again rather than keeps
            (`blocklearn.blocks.recompute`).
    """

    lr_factor: float = 1.0
    loss_weight: float = 1.0
    stop_epoch: int | None = None
    recompute: Recompute = "cheap"

    def __post_init__(self) -> None:
        sound = all(0 < factor < math.inf for factor in (self.lr_factor, self.loss_weight))
        if not sound or (self.stop_epoch is not None and self.stop_epoch < 1):
            raise UserError(
                "model: lr_factors and loss_weights must be positive and finite and stop_epochs "
                f"at least 1, got {self.lr_factor}, {self.loss_weight} and {self.stop_epoch}"
            )
        if self.recompute not in get_args(Recompute):
            raise UserError(
                f"model: recompute is one of {', '.join(get_args(Recompute))}, got "
                f"{self.recompute!r}"
            )


class Block(IsolatedWalk):
    """Stages, noise and an objective. Inside a `BlockwiseModule` it only computes; given to a
    `Trainer` by itself, with batches whose views are the features of the block before, it is a walk
    of one.

    Args:
        index: position among the blocks, from 0.
        stages: consecutive stages of the backbone, which this block owns; none for an objective on
            the frozen output of the block before.
        objective: what the block optimises.
        noise: added to the block's output in training, before its own objective and before the
            hand-over.
        rule: how the block is updated when it is trained by itself.
        schedule: when it learns, when it is trained by itself.
        settings: in what it differs from other blocks.
        borrowed: the last stages of the block before, which this block runs and trains too (LoCo,
            arXiv 2008.01342).
        lends: how many of its own last stages the next block borrows; the hand-over is taken before
            them, without noise.
        spec: of its output; null for that of its last stage.
    """

    def __init__(
        self,
        index: int,
        stages: Sequence[Stage],
        objective: Objective,
        noise: Noise | None = None,
        rule: UpdateRule | None = None,
        schedule: Schedule | None = None,
        settings: BlockSettings | None = None,
        borrowed: Sequence[Stage] = (),
        lends: int = 0,
        spec: StageSpec | None = None,
    ) -> None:
        super().__init__(rule or UpdateRule(), schedule)
        self.index = index
        self.stages = nn.ModuleList(stages)
        self.objective = objective
        self.noise = noise
        self.settings = settings or BlockSettings()
        self.borrowed = tuple(borrowed)  # a tuple, so that their parameters have one owner
        self.lends = lends
        self.spec = spec or stages[-1].spec

    @property
    def name(self) -> str:
        """The block's name in logs and plots, counted from 1: `block1`."""
        return f"block{self.index + 1}"

    @property
    def specs(self) -> list[StageSpec]:
        """Of the stages that it owns."""
        return [stage.spec for stage in self.stages]  # pyright: ignore[reportReturnType]

    @property
    def stage_names(self) -> str:
        return (
            "+".join(stage.spec.name for stage in self.trained_stages) or f"behind {self.spec.name}"
        )

    @property
    def trained_stages(self) -> list[Stage]:
        """The stages that its loss reaches: borrowed ones and its own."""
        return [*self.borrowed, *self.stages]  # pyright: ignore[reportReturnType]

    def published_at(self, taken: Container[str]) -> str:
        """The stage that what its objective publishes sits on, with the block's own name behind it
        where that is taken."""
        return f"{self.spec.name}.{self.name}" if self.spec.name in taken else self.spec.name

    @property
    def walked(self) -> "Sequence[Block]":
        return [self]

    def forward(self, x: Tensor) -> Tensor:
        """Features of its last stage from those of the block before, without noise."""
        for stage in self.stages:
            x = stage(x)
        return x

    def local_step(
        self, views: Sequence[Tensor], batch: Batch, noise_keys: tuple[int, ...] = (), rank: int = 0
    ) -> BlockOutput:
        """Features, local loss and hand-over of one batch. Pure: it touches no trainer, logger or
        optimizer.

        Args:
            views: the images, or the hand-over of the block before; cut off from any graph here.
            batch: the batch they come from.
            noise_keys: what noise, dropout and the objective's draws depend on beside block and
                view: (seed, step).
            rank: of this process, which draws for its own samples; an objective draws the same on
                every process.
        """
        keys = (*noise_keys, rank) if rank else noise_keys
        with keyed_randomness(*noise_keys, self.index, OBJECTIVE_STREAM):
            features = LazyViews(lambda number: self._features(views, number, keys), len(views))
            loss, metrics, embeddings = self.objective(features, batch)
            hand_over = features.hand_over()
        return BlockOutput(loss, metrics, embeddings, hand_over)

    @torch.no_grad()
    def hand_over(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Features for the next block without loss or graph."""
        return [self._features(views, number, ()).hand_over for number in range(len(views))]

    def _features(
        self, views: Sequence[Tensor], number: int, keys: tuple[int, ...]
    ) -> ViewFeatures:
        walk = partial(run, recompute=self.settings.recompute, last_view=number == len(views) - 1)
        noise = (
            partial(self._add_noise, keys=(*keys, self.index, number))
            if self.noise and self.training
            else None
        )
        x, stages = views[number].detach(), self.trained_stages
        with keyed_randomness(
            *keys, self.index, number, STAGES_STREAM
        ):  # dropout, stochastic depth
            if not self.lends:
                x = walk(stages, x, noise)
                return ViewFeatures(x, x.detach())
            between = walk(stages[: -self.lends], x)
            return ViewFeatures(walk(stages[-self.lends :], between, noise), between.detach())

    def _add_noise(self, x: Tensor, keys: tuple[int, ...]) -> Tensor:
        assert self.noise is not None
        return self.noise(x, keyed_generator(x.device, *keys), self.spec)
