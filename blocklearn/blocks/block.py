"""A block: consecutive stages trained by one local objective."""

import inspect
from collections.abc import Container, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor, nn

from blocklearn.backbones.stage import Stage, StageSpec
from blocklearn.batch import Batch
from blocklearn.blocks.lazy_views import LazyViews, ViewFeatures
from blocklearn.blocks.noise import Noise
from blocklearn.blocks.recompute import run
from blocklearn.blocks.settings import BlockSettings
from blocklearn.errors import UserError
from blocklearn.objectives.objective import LocalBatch, Objective
from blocklearn.seeding import keyed_generator, keyed_randomness
from blocklearn.training.contract import STANDING, BlockOutput, Carried, Clock, cut_off
from blocklearn.training.lightning_walk import LightningWalk
from blocklearn.training.schedule import Schedule
from blocklearn.training.update_rule import UpdateRule

OBJECTIVE_STREAM, STAGES_STREAM = -1, -2  # where noise has the number of the view


class Block(LightningWalk):
    """Stages, noise and an objective. Inside a `BlockwiseModule` it only computes; given to a
    `Trainer` by itself, with batches whose views are the features of the block before, it is a walk
    of one.

    Args:
        index: position among the blocks, from 0.
        stages: consecutive stages of the backbone, which this block owns; none for an objective on
            the frozen output of the block before.
        objective: what the block optimizes.
        noise: added to the block's output in training, before its own objective and before the
            hand-over.
        rule: how the block is updated when it is trained by itself.
        schedule: when it learns, when it is trained by itself.
        settings: in what it differs from other blocks; the objective and the noise are those above.
        borrowed: the last stages of the block before, which this block runs and trains too (LoCo,
            arXiv 2008.01342).
        lends: how many of its own last stages the next block borrows; the hand-over is taken before
            them, without noise.
        spec: of its output; null for that of its last stage.

    Raises:
        UserError: for an objective written for an earlier version.
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
        _require_local_batch(objective)
        self.index = index
        self.stages = nn.ModuleList(stages)
        self.objective = objective
        self.noise = noise
        self.settings = settings or BlockSettings()
        self.borrowed = tuple(borrowed)  # a tuple, so that their parameters have one owner
        self.lends = lends
        self.spec = spec or stages[-1].spec
        objective.bind(tuple(self.trained_stages))

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
        """Of the stages that it trains, for tables and messages."""
        trained = "+".join(stage.spec.name for stage in self.trained_stages)
        return trained or f"behind {self.spec.name}"

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

    def local_step(self, carried: Carried, batch: Batch, clock: Clock = STANDING) -> BlockOutput:
        """Features, local loss and hand-over of one batch. Pure: it touches no trainer, logger or
        optimizer.

        Args:
            carried: the images, or what the block before handed on; cut off from any graph here,
                but where it comes from `chain`.
            batch: the batch they come from.
            clock: when; noise, dropout and the objective's draws depend on its keys, on block and
                view. Where there are several processes each draws for its own samples, but an
                objective draws the same on all.
        """
        with self._keyed(carried.views, *clock.keys, self.index, OBJECTIVE_STREAM):
            local, features = self._local_batch(carried, batch, clock)
            loss, metrics, extras = self.objective(local)
            views = features.hand_over()
        return BlockOutput(loss, metrics, Carried(views, cut_off(extras)))

    @torch.no_grad()
    def pass_on(self, carried: Carried, batch: Batch, clock: Clock = STANDING) -> Carried:
        """What the next block gets where this one does not learn: without loss or graph."""
        local, features = self._local_batch(carried, batch, clock._replace(learning=False))
        return Carried(features.hand_over(), cut_off(self.objective.hand_on(local)))

    def chain(self, carried: Carried, batch: Batch, clock: Clock = STANDING) -> Carried:
        """What the next block gets where the loss of a later block trains this one too: without a
        loss, and with the graph that made it. The objective's weights are not in that graph."""
        with self._keyed(carried.views, *clock.keys, self.index, OBJECTIVE_STREAM):
            local, features = self._local_batch(carried, batch, clock)
            views = list(features)
            with torch.no_grad():
                extras = self.objective.hand_on(local)
        return Carried(views, cut_off(extras), joined=True)

    def _local_batch(
        self, carried: Carried, batch: Batch, clock: Clock
    ) -> tuple[LocalBatch, LazyViews]:
        keys = (*clock.keys, clock.rank) if clock.rank and clock.keys else clock.keys
        inputs = [view.detach() for view in carried.views]
        entering = carried.views if carried.joined else inputs

        def make(number: int) -> ViewFeatures:
            visible = batch.visible[number] if batch.visible else None
            return self._features(entering, number, keys, visible)

        features = LazyViews(make, len(inputs))
        return LocalBatch(features, batch, inputs, cut_off(carried.extras), clock), features

    def _features(
        self,
        inputs: Sequence[Tensor],
        number: int,
        keys: tuple[int, ...],
        visible: Tensor | None,
    ) -> ViewFeatures:
        recompute = self.settings.recompute or "cheap"
        last = number == len(inputs) - 1
        walk = partial(run, recompute=recompute, last_view=last, visible=visible)
        learns = self.noise and self.training
        noise = partial(self._add_noise, keys=(*keys, self.index, number)) if learns else None
        x, stages = inputs[number], self.trained_stages
        # dropout, stochastic depth
        with self._keyed(inputs, *keys, self.index, number, STAGES_STREAM):
            if not self.lends:
                x = walk(stages, x, noise)
                return ViewFeatures(x, x.detach())
            between = walk(stages[: -self.lends], x)
            return ViewFeatures(walk(stages[-self.lends :], between, noise), between.detach())

    @staticmethod
    def _keyed(views: Sequence[Tensor], *keys: int) -> AbstractContextManager[None]:
        """On the CPU, and on the device that the views are on."""
        return keyed_randomness(*keys, device=views[0].device if views else None)

    def _add_noise(self, x: Tensor, keys: tuple[int, ...]) -> Tensor:
        assert self.noise is not None
        return self.noise(x, keyed_generator(x.device, *keys), self.spec)


def _require_local_batch(objective: Objective) -> None:
    """Before 0.2 `forward` took the features and the batch apart."""
    if len(inspect.signature(objective.forward).parameters) == 2:
        raise UserError(
            f"objective: {type(objective).__name__}.forward takes features and batch, since 0.2 it "
            "takes one LocalBatch: write forward(self, local) and local.features, local.batch"
        )
