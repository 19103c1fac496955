"""The isolated walk: forward a block, its loss, backward, update, free the graph, hand the detached
features on."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from blocklearn.batch import Batch
from blocklearn.distributed.launch import say
from blocklearn.distributed.strategy import IsolatedStrategy
from blocklearn.errors import UserError
from blocklearn.training.early_stopping import keep_patience, stopped_early
from blocklearn.training.finite import COUNTS, FiniteWatch, keep, put_back, require_finite, spoil
from blocklearn.training.monitor_times import Rhythm, require_in_time
from blocklearn.training.monitors import require_monitors
from blocklearn.training.place import Place, forget_restart
from blocklearn.training.schedule import Schedule, Simultaneous, require_shared_batches
from blocklearn.training.trainer_parts import refuse_callbacks, refuse_precision, refuse_settings
from blocklearn.training.unfinished import UNFINISHED, Kept, put_unfinished, unfinished
from blocklearn.training.update_rule import UpdateRule

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
        self.watch = FiniteWatch(rule.non_finite, rule.non_finite_limit)
        # running statistics before batches that may be dropped, by block
        self._statistics: Kept = {}
        self._place: Place | None = None  # where a run that is resumed goes on
        self._unfinished: Sequence[Mapping[str, Any]] = ()
        self.noise_seed = 0
        # the first block to run; above 0 where batches hold the features of the block before it
        self.entry = 0
        self._total_steps: int | None = None
        self.monitors_checked = False  # by whoever started the run

    @property
    def walked(self) -> "Sequence[Block]":
        """The blocks of this walk, in order."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self._require_a_batch_to_normalise_over(batch)
        learning = {block for block in self.walked if self.global_step in self.window(block)}
        last = max((block.index for block in learning), default=-1)
        views: Sequence[Tensor] = batch.views
        waiting: list[tuple[Block, Optimizer]] = []
        for block, optimizer in zip(self.walked, self.trainer.optimizers, strict=True):
            if not self.entry <= block.index <= last:
                continue  # its output is there already, or nobody behind it learns
            if block.training != (block in learning):
                block.train(block in learning)
                block.zero_grad()  # of a window that ended between two accumulated batches
            if block not in learning:
                views = block.hand_over(views)
                continue
            self._set_lr(block, optimizer)
            if self.watch.policy == "skip" and block.name not in self._statistics:
                self._statistics[block.name] = keep(block.buffers())
            output = block.local_step(
                views, batch, (self.noise_seed, self.global_step), self.trainer.global_rank
            )
            self._backward(block, output.loss)
            waiting.append((block, optimizer))
            while len(waiting) > bool(
                block.lends
            ):  # the next block's loss has still to reach what it borrows
                self._update(*waiting.pop(0), batch_idx)
            self._log_block(block, output, batch, "", lr=optimizer.param_groups[0]["lr"])
            views = output.features
        self._count_batch()

    def updated_at(self, batch_idx: int) -> bool:
        """Whether the weights are updated at the end of this batch of the epoch, so that no
        gradient waits for the next."""
        return (batch_idx + 1) % self.rule.accumulate_batches == 0 or self.trainer.is_last_batch

    def window(self, block: "Block") -> range:
        """The batches from which a block learns: what the schedule says, up to the block's own stop
        epoch."""
        return self.window_within(
            block, int(min(self.trainer.num_training_batches, self.total_steps)), self.total_steps
        )

    def window_within(self, block: "Block", steps_per_epoch: int, total_steps: int) -> range:
        """The same for a run of that length, before there is a Trainer."""
        window = self.schedule.window(block.index, len(self.walked), steps_per_epoch, total_steps)
        if block.settings.stop_epoch is None:
            return window
        return range(
            window.start,
            max(min(window.stop, block.settings.stop_epoch * steps_per_epoch), window.start),
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        views: Sequence[Tensor] = batch.views
        for block in self.walked:
            output = block.local_step(views, batch)
            self._log_block(block, output, batch, "val_")
            views = output.features

    def configure_optimizers(self) -> list[Optimizer]:
        """One optimizer a block. There are no scheduler objects: the learning rate is a function of
        the batch count."""
        batch_size = getattr(self._datamodule, "batch_size", None)
        built = [
            self.rule.build_optimizer(block, batch_size, block.settings.lr_factor)
            for block in self.walked
        ]
        self._options = [
            [{**group, "params": None} for group in optimizer.param_groups] for optimizer in built
        ]
        return built

    @property
    def total_steps(self) -> int:
        """Batches in the whole run. Not to be asked before training starts: the Trainer would set
        up its loaders before a resumed run has restored them.

        Raises:
            UserError: for a run without an end.
        """
        if self._total_steps is None:
            total_steps = self.trainer.estimated_stepping_batches
            if total_steps == float("inf"):
                raise UserError(
                    "the learning-rate curve needs an end: set --trainer.max_epochs or "
                    "--trainer.max_steps"
                )
            self._total_steps = int(total_steps)
        return self._total_steps

    def configure_callbacks(self) -> list[Callback]:
        """None; asked before any callback does anything, so those that cannot work here are
        refused."""
        trainer: Any = self.trainer
        try:
            refuse_callbacks(trainer.callbacks)
            if trainer.state.fn == "fit":
                refuse_settings(trainer)
        except UserError:
            trainer.callbacks = []  # one of them saves a state on any error
            raise
        return []

    def on_fit_start(self) -> None:
        self._total_steps = None
        strategy = self.trainer.strategy
        if not isinstance(strategy, (SingleDeviceStrategy, IsolatedStrategy)):
            raise UserError(
                f"trainer.strategy: {type(strategy).__name__} expects one backward pass a step, "
                "blockwise training makes one a block: leave --trainer.strategy alone; in Python "
                "pass strategy=blocklearn.IsolatedStrategy()"
            )
        refuse_precision(self.trainer.precision)
        if not self.monitors_checked:
            validates = self.trainer.limit_val_batches != 0
            for line in require_monitors(self, self.trainer.callbacks, self._datamodule, validates):  # pyright: ignore
                say(line)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Where the run stands and what waits to be updated go into it. Nothing that is not finite
        reaches the disk: the checkpoint before stays the last.

        Raises:
            UserError: naming the first such weights.
        """
        states = {name: checkpoint.get(name) for name in ("state_dict", "optimizer_states")}
        require_finite(states, "the checkpoint is not written, the one before stays")
        if self._trainer is not None:  # it is saved outside of a run too
            Place.of(self.trainer).write(checkpoint)
            checkpoint[UNFINISHED] = unfinished(self.walked, self._statistics)
            checkpoint[COUNTS] = self.watch.counts

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what training goes on with when it starts. The weights' precision is set now:
        Lightning does it later, when those of a run in float64 would have passed through
        float32."""
        self.trainer.precision_plugin.convert_module(self)
        self._place = Place.read(checkpoint)
        self._unfinished = checkpoint.get(UNFINISHED, ())
        self.watch.counts = checkpoint.get(COUNTS, {})
        keep_patience(self.trainer.callbacks, checkpoint)  # pyright: ignore

    def on_validation_model_zero_grad(self) -> None:
        """Lightning's would drop gradients that wait for the next batch; an update frees those that
        are used."""

    def on_train_start(self) -> None:
        self.noise_seed = torch.initial_seed()
        if self._place:
            self._place.go_on(self.trainer)
            self._statistics = put_unfinished(
                self.walked, self._unfinished, self.trainer.global_rank
            )
            self.trainer.should_stop |= stopped_early(self.trainer.callbacks) is not None  # pyright: ignore
        self._place, self._unfinished = None, ()
        self._heed_configured_options()
        windows = [self.window(block) for block in self.walked]
        require_shared_batches(self.walked, windows)
        if not self.trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            require_in_time(self.walked, windows, self.trainer.callbacks, self._rhythm)  # pyright: ignore
        shortest = min(self.trainer.num_training_batches, self.total_steps)
        # so that a short run leaves a trace too
        self.trainer.log_every_n_steps = max(1, min(self._log_interval, shortest))  # pyright: ignore

    def on_train_epoch_start(self) -> None:
        forget_restart(self.trainer)

    def _backward(self, block: "Block", loss: Tensor) -> None:
        weight = block.settings.loss_weight
        usable = self.watch.take_loss(
            block.name, block.stage_names, loss, self.global_step, self._reads_losses
        )
        if usable:
            with torch.autocast(
                loss.device.type, enabled=False
            ):  # Lightning's is around the whole step, backward included
                self.manual_backward(
                    (loss if weight == 1 else loss * weight) / self.rule.accumulate_batches
                )
        if self.watch.is_bad(block.name):
            spoil([p for p in block.parameters() if p.requires_grad])

    def _heed_configured_options(self) -> None:
        """A resumed run's optimizers come back with the checkpoint's rates and decays; the
        configuration's hold."""
        for optimizer, options in zip(self.trainer.optimizers, self._options, strict=True):
            for group, configured in zip(optimizer.param_groups, options, strict=True):
                group.update(
                    {name: value for name, value in configured.items() if name != "params"}
                )

    def _set_lr(self, block: "Block", optimizer: Optimizer) -> None:
        window = self.window(block)
        steps_per_epoch = self.trainer.num_training_batches
        self.rule.set_lr(optimizer, self.global_step - window.start, steps_per_epoch, len(window))

    def _update(self, block: "Block", optimizer: Optimizer, batch_idx: int) -> None:
        if not self.updated_at(batch_idx):
            return
        take = partial(self.watch.take_gradient, block.name, block.stage_names)
        before = self._statistics.pop(block.name, ())
        if self.rule.apply(
            optimizer, lambda size: take(size, self.global_step, self._reads_losses)
        ):
            # it holds low-precision copies of the weights as they were
            torch.clear_autocast_cache()
        else:
            put_back(before)

    def _count_batch(self) -> None:
        # Lightning counts optimizer steps: K a batch with K optimizers. Everything that depends on
        # `global_step`
        # (max_steps, checkpoints, loggers, resuming) means batches, so exactly one is counted.
        counter = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        counter.increment_ready()
        counter.increment_completed()

    def _log_block(
        self, block: "Block", output: "BlockOutput", batch: Batch, prefix: str, **extra: float
    ) -> None:
        size = batch.label.shape[0]
        name = f"{block.name}/{prefix}"
        # Our own losses are those of the whole batch on every process; a user's may not be.
        over_all = bool(prefix)
        self.log(
            f"{name}loss",
            output.loss.detach(),
            prog_bar=not prefix,
            batch_size=size,
            sync_dist=over_all,
        )
        if not prefix and (self.global_step + 1) % self._log_interval:
            # the loggers would not see them, and a call of `log` costs more than a small layer
            return
        if not prefix and self.watch.policy == "skip":
            extra["skipped"] = float(self.watch.skipped[block.name])
        metrics = {name + key: value for key, value in {**output.metrics, **extra}.items()}
        self.log_dict(metrics, batch_size=size, sync_dist=over_all)

    @property
    def _reads_losses(self) -> bool:
        """Whether losses are read at this batch anyway. Reading one waits for the device."""
        return self.global_step % self._log_interval == 0

    @property
    def _rhythm(self) -> Rhythm:
        trainer: Any = self.trainer
        batches = int(trainer.num_training_batches)
        every, interval = trainer.check_val_every_n_epoch, trainer.val_check_interval
        return Rhythm(
            batches,
            self.total_steps,
            bool(trainer.enable_validation),
            every,
            interval,
            min(self._log_interval, batches),
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
            raise UserError(
                "a batch of 1 sample: BatchNorm and the criterion need at least 2; raise "
                "--data.batch_size"
            )
