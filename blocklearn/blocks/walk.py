"""The isolated walk: forward a block, its loss, backward, update, free the graph, hand the detached features on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from blocklearn.batch import Batch
from blocklearn.blocks.schedule import Schedule, Simultaneous
from blocklearn.blocks.update import UpdateRule
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
        self._total_steps = 1

    @property
    def walked(self) -> "Sequence[Block]":
        """The blocks of this walk, in order."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self._require_a_batch_to_normalise_over(batch)
        progress = self.global_step / self._total_steps
        views: Sequence[Tensor] = batch.views
        for block, optimizer in zip(self.walked, self.trainer.optimizers, strict=True):
            learning = self.schedule.is_learning(block.index, len(self.walked), progress)
            if block.training != learning:
                block.train(learning)
            if not learning:
                views = block.hand_over(views)
                continue
            output = block.local_step(views, batch, noise_keys=(self.noise_seed, self.global_step))
            self._update(block, optimizer, output.loss, batch_idx)
            self._log_block(block, output, batch, "", lr=optimizer.param_groups[0]["lr"])
            views = output.features
        self._count_batch()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        views: Sequence[Tensor] = batch.views
        for block in self.walked:
            output = block.local_step(views, batch)
            self._log_block(block, output, batch, "val_")
            views = output.features

    def configure_optimizers(self) -> list[Optimizer]:
        """One optimizer a block. There are no scheduler objects: the learning rate is a function of the batch count."""
        batch_size = getattr(self._datamodule, "batch_size", None)
        return [self.rule.build_optimizer(block, batch_size) for block in self.walked]

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1:
            raise UserError("training over several processes is not available yet: use --trainer.devices 1")
        if self.trainer.precision == "16-mixed":
            raise UserError("precision 16-mixed would let one block's overflow skip the others: use bf16-mixed")

    def on_train_start(self) -> None:
        self.noise_seed = torch.initial_seed()
        # Asked any earlier, the Trainer would set up its loaders before a resumed run has restored them.
        total_steps = self.trainer.estimated_stepping_batches
        if total_steps == float("inf"):
            raise UserError("the learning-rate curve needs an end: set --trainer.max_epochs or --trainer.max_steps")
        self._total_steps = int(total_steps)
        shortest = min(self.trainer.num_training_batches, self._total_steps)
        # so that a short run leaves a trace too
        self.trainer.log_every_n_steps = max(1, min(self._log_interval, shortest))  # pyright: ignore[reportAttributeAccessIssue]

    def _update(self, block: "Block", optimizer: Optimizer, loss: Tensor, batch_idx: int) -> None:
        self._refuse_non_finite(block, loss)
        self.rule.set_lr(optimizer, self.global_step, self.trainer.num_training_batches, self._total_steps)
        self.manual_backward(loss / self.rule.accumulate_batches)
        if (batch_idx + 1) % self.rule.accumulate_batches == 0 or self.trainer.is_last_batch:
            self.rule.apply(optimizer)
            torch.clear_autocast_cache()  # it holds low-precision copies of the weights as they were

    def _count_batch(self) -> None:
        # Lightning counts optimizer steps: K a batch with K optimizers. Everything that depends on `global_step`
        # (max_steps, checkpoints, loggers, resuming) means batches, so exactly one is counted.
        counter = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        counter.increment_ready()
        counter.increment_completed()

    def _log_block(self, block: "Block", output: "BlockOutput", batch: Batch, prefix: str, **extra: float) -> None:
        size = batch.label.shape[0]
        name = f"{block.name}/{prefix}"
        self.log(f"{name}loss", output.loss.detach(), prog_bar=not prefix, batch_size=size)
        if not prefix and (self.global_step + 1) % self._log_interval:
            return  # the loggers would not see them, and a call of `log` costs more than a small layer
        self.log_dict({name + key: value for key, value in {**output.metrics, **extra}.items()}, batch_size=size)

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
