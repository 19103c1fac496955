"""The isolated walk: forward a block, its loss, backward, update, free the graph, hand the detached features on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from blocklearn.batch import Batch
from blocklearn.blocks.schedule import Schedule, Simultaneous
from blocklearn.blocks.update import UpdateRule
from blocklearn.distributed.strategy import IsolatedStrategy
from blocklearn.errors import UserError

if TYPE_CHECKING:
    from blocklearn.blocks.block import Block, BlockOutput


class IsolatedWalk(LightningModule):
    """Walks down `self.walked` once a batch. It alone talks to the trainer; blocks only compute.

    Args:
        rule: how each block is updated from its loss.
        schedule: which blocks learn when.
    """

    def __init__(self, rule: UpdateRule, schedule: Schedule | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.rule = rule
        self.schedule = schedule or Simultaneous()
        self.noise_seed = 0
        self.entry = 0  # the first block to run; above 0 where batches hold the features of the block before it
        self._total_steps: int | None = None

    @property
    def walked(self) -> "Sequence[Block]":
        """The blocks of this walk, in order."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self._require_a_batch_to_normalise_over(batch)
        learning = {block for block in self.walked if self.global_step in self.window(block)}
        last = max((block.index for block in learning), default=-1)
        views: Sequence[Tensor] = batch.views
        waiting: list[Optimizer] = []
        for block, optimizer in zip(self.walked, self.trainer.optimizers, strict=True):
            if not self.entry <= block.index <= last:
                continue  # its output is there already, or nobody behind it learns
            if block.training != (block in learning):
                block.train(block in learning)
            if block not in learning:
                views = block.hand_over(views)
                continue
            self._set_lr(block, optimizer)
            output = block.local_step(views, batch, (self.noise_seed, self.global_step), self.trainer.global_rank)
            self._backward(block, output.loss)
            waiting.append(optimizer)
            while len(waiting) > bool(block.lends):  # the next block's loss has still to reach what it borrows
                self._update(waiting.pop(0), batch_idx)
            self._log_block(block, output, batch, "", lr=optimizer.param_groups[0]["lr"])
            views = output.features
        self._count_batch()

    def window(self, block: "Block") -> range:
        """The batches from which a block learns: what the schedule says, up to the block's own stop epoch."""
        steps_per_epoch = int(min(self.trainer.num_training_batches, self.total_steps))
        window = self.schedule.window(block.index, len(self.walked), steps_per_epoch, self.total_steps)
        if block.settings.stop_epoch is None:
            return window
        return range(window.start, max(min(window.stop, block.settings.stop_epoch * steps_per_epoch), window.start))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        views: Sequence[Tensor] = batch.views
        for block in self.walked:
            output = block.local_step(views, batch)
            self._log_block(block, output, batch, "val_")
            views = output.features

    def configure_optimizers(self) -> list[Optimizer]:
        """One optimizer a block. There are no scheduler objects: the learning rate is a function of the batch count."""
        batch_size = getattr(self._datamodule, "batch_size", None)
        return [self.rule.build_optimizer(block, batch_size, block.settings.lr_factor) for block in self.walked]

    @property
    def total_steps(self) -> int:
        """Batches in the whole run. Not to be asked before training starts: the Trainer would set up its loaders before a
        resumed run has restored them.

        Raises:
            UserError: for a run without an end.
        """
        if self._total_steps is None:
            total_steps = self.trainer.estimated_stepping_batches
            if total_steps == float("inf"):
                raise UserError("the learning-rate curve needs an end: set --trainer.max_epochs or --trainer.max_steps")
            self._total_steps = int(total_steps)
        return self._total_steps

    def on_fit_start(self) -> None:
        self._total_steps = None
        strategy = self.trainer.strategy
        if not isinstance(strategy, (SingleDeviceStrategy, IsolatedStrategy)):
            raise UserError(
                f"trainer.strategy: {type(strategy).__name__} expects one backward pass a step, blockwise training makes "
                "one a block: leave --trainer.strategy alone; in Python pass strategy=blocklearn.IsolatedStrategy()"
            )
        if self.trainer.precision == "16-mixed":
            raise UserError("precision 16-mixed would let one block's overflow skip the others: use bf16-mixed")

    def on_train_start(self) -> None:
        self.noise_seed = torch.initial_seed()
        self._refuse_neighbours_that_learn_apart()
        shortest = min(self.trainer.num_training_batches, self.total_steps)
        # so that a short run leaves a trace too
        self.trainer.log_every_n_steps = max(1, min(self._log_interval, shortest))  # pyright: ignore[reportAttributeAccessIssue]

    def _backward(self, block: "Block", loss: Tensor) -> None:
        self._refuse_non_finite(block, loss)
        weight = block.settings.loss_weight
        with torch.autocast(loss.device.type, enabled=False):  # Lightning's is around the whole step, backward included
            self.manual_backward((loss if weight == 1 else loss * weight) / self.rule.accumulate_batches)

    def _set_lr(self, block: "Block", optimizer: Optimizer) -> None:
        window = self.window(block)
        steps_per_epoch = self.trainer.num_training_batches
        self.rule.set_lr(optimizer, self.global_step - window.start, steps_per_epoch, len(window))

    def _update(self, optimizer: Optimizer, batch_idx: int) -> None:
        if (batch_idx + 1) % self.rule.accumulate_batches == 0 or self.trainer.is_last_batch:
            self.rule.apply(optimizer)
            torch.clear_autocast_cache()  # it holds low-precision copies of the weights as they were

    def _refuse_neighbours_that_learn_apart(self) -> None:
        for before, block in zip(self.walked, self.walked[1:], strict=False):
            if block.borrowed and self.window(before) != self.window(block):
                raise UserError(
                    f"{before.name} and {block.name} share {block.borrowed[-1].spec.name}, so they must learn from the "
                    "same batches: take the schedule Simultaneous and the same stop_epoch"
                )

    def _count_batch(self) -> None:
        # Lightning counts optimizer steps: K a batch with K optimizers. Everything that depends on `global_step`
        # (max_steps, checkpoints, loggers, resuming) means batches, so exactly one is counted.
        counter = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        counter.increment_ready()
        counter.increment_completed()

    def _log_block(self, block: "Block", output: "BlockOutput", batch: Batch, prefix: str, **extra: float) -> None:
        size = batch.label.shape[0]
        name = f"{block.name}/{prefix}"
        # Our own losses are those of the whole batch on every process; a user's may not be.
        over_all = bool(prefix)
        self.log(f"{name}loss", output.loss.detach(), prog_bar=not prefix, batch_size=size, sync_dist=over_all)
        if not prefix and (self.global_step + 1) % self._log_interval:
            return  # the loggers would not see them, and a call of `log` costs more than a small layer
        metrics = {name + key: value for key, value in {**output.metrics, **extra}.items()}
        self.log_dict(metrics, batch_size=size, sync_dist=over_all)

    def _refuse_non_finite(self, block: "Block", loss: Tensor) -> None:
        # Reading a loss waits for the device, so a GPU is asked only when its metrics are read anyway.
        if loss.is_cuda and self.global_step % self._log_interval:
            return
        if not torch.isfinite(loss):
            raise UserError(
                f"{block.name} ({block.stage_names}): the loss is {loss.item()} at batch {self.global_step}; nothing was "
                "updated from it. Lower the learning rate, set --model.gradient_clip_norm, or look for bad samples"
            )

    @property
    def _log_interval(self) -> int:
        return max(getattr(self.trainer, "log_every_n_steps", 1), 1)

    @property
    def _datamodule(self) -> object:
        return getattr(self.trainer, "datamodule", None)

    @staticmethod
    def _require_a_batch_to_normalise_over(batch: Batch) -> None:
        if batch.label.shape[0] < 2:
            raise UserError("a batch of 1 sample: BatchNorm and the criterion need at least 2; raise --data.batch_size")
