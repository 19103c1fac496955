"""One block on one batch: learning rate, local step, backward pass, update, and what follows it."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from blocklearn.batch import Batch
from blocklearn.training.contract import BlockOutput, Carried, Clock, LocalBlock
from blocklearn.training.finite import FiniteWatch, keep, put_back, spoil
from blocklearn.training.unfinished import Beside
from blocklearn.training.update_rule import UpdateRule


class Replica(Protocol):
    """A block whose gradients are averaged over several processes."""

    def local_step(self, carried: Carried, batch: Batch, clock: Clock) -> BlockOutput: ...
    def finish(self) -> None: ...


class Learner:
    """Trains one block. It knows neither the other blocks nor the Trainer.

    Args:
        block: which it trains.
        optimizer: over the block's parameters, with the whole run's peak learning rate.
        rule: how a loss becomes an update.
        watch: for losses and gradients that are not finite; one for all blocks.
        window: the batches from which the block learns.
        steps_per_epoch: batches in an epoch.
        backward: computes the gradients of a loss; by default `loss.backward()`.
        reads: whether losses are read at a batch anyway: on a GPU reading one waits for it.
        replica: of the block, where it learns from the samples of several processes.
    """

    def __init__(
        self,
        block: LocalBlock,
        optimizer: Optimizer,
        rule: UpdateRule,
        watch: FiniteWatch,
        window: range,
        steps_per_epoch: float,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
        reads: Callable[[int], bool] = lambda step: True,
        replica: Replica | None = None,
    ) -> None:
        self.block, self.optimizer, self.rule, self.watch = block, optimizer, rule, watch
        self.window, self.steps_per_epoch = window, steps_per_epoch
        self._compute_gradients, self._reads = backward, reads
        self.replica = replica
        self.statistics: Beside = []  # running statistics before batches that may be dropped

    def learns(self, clock: Clock) -> bool:
        """Whether this batch is in the block's window."""
        return clock.step in self.window

    def prepare(self, clock: Clock) -> None:
        """Put the block into training mode where it learns, and into eval mode elsewhere."""
        if self.block.training != self.learns(clock):
            self.block.train(self.learns(clock))
            self.block.zero_grad()  # of a window that ended between two accumulated batches

    def learn(self, carried: Carried, batch: Batch, clock: Clock) -> BlockOutput:
        """The local step and its backward pass; the gradients wait for `update`."""
        self._begin(clock)
        output = (self.replica or self.block).local_step(carried, batch, clock)
        self._backward(output.loss, clock)
        return output

    def pass_on(self, carried: Carried, batch: Batch, clock: Clock) -> Carried:
        """What a block that does not learn hands on: no loss, no graph."""
        return self.block.pass_on(carried, batch, clock)

    def chain(self, carried: Carried, batch: Batch, clock: Clock) -> Carried:
        """What the block hands on with its graph, where the loss of a later block makes its
        gradients; they wait for `update`."""
        self._begin(clock)
        return self.block.chain(carried, batch, clock)

    def share_fate(self, other: "Learner") -> None:
        """Drop this block's update where the other's loss, which was its own too, is dropped."""
        if self.watch.is_bad(other.block.name):
            spoil([p for p in self.block.parameters() if p.requires_grad])

    def update(self, clock: Clock) -> None:
        """Step the optimizer, where this batch ends a group of accumulated ones, and tell the
        objective."""
        if not clock.updates:
            return
        take = partial(self.watch.take_gradient, self.block.name, self.block.stage_names)
        before, self.statistics = self.statistics, []
        if self.replica:
            self.replica.finish()
        read = self._reads(clock.step)
        if self.rule.apply(self.optimizer, lambda size: take(size, clock.step, read)):
            # it holds low-precision copies of the weights as they were
            torch.clear_autocast_cache()
            self.block.objective.after_update(clock)
        else:
            put_back(before)

    @property
    def lr(self) -> float:
        """The learning rate of the last batch."""
        return self.optimizer.param_groups[0]["lr"]

    def _begin(self, clock: Clock) -> None:
        progress = clock.step - self.window.start
        self.rule.set_lr(self.optimizer, progress, self.steps_per_epoch, len(self.window))
        if self.watch.policy == "skip" and not self.statistics:
            self.statistics = keep(self.block.buffers())

    def _backward(self, loss: Tensor, clock: Clock) -> None:
        name, weight = self.block.name, self.block.settings.loss_weight
        read = self._reads(clock.step)
        if self.watch.take_loss(name, self.block.stage_names, loss, clock.step, read):
            # Lightning's autocast is around the whole step, backward included
            with torch.autocast(loss.device.type, enabled=False):
                weighted = loss if weight == 1 else loss * weight
                self._compute_gradients(weighted / clock.group)
        if self.watch.is_bad(name):
            spoil([p for p in self.block.parameters() if p.requires_grad])
