"""The isolated walk on Lightning's Trainer: the only class that talks to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim import SGD, Optimizer

from blocklearn.batch import Batch
from blocklearn.distributed.groups import data_rank
from blocklearn.distributed.launch import say
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.errors import UserError
from blocklearn.training.block_metric import BlockMetric
from blocklearn.training.block_parts import is_here
from blocklearn.training.contract import BlockOutput, Carried, Clock, LocalBlock
from blocklearn.training.early_stopping import keep_patience, stopped_early
from blocklearn.training.execution import Execution, InTurn
from blocklearn.training.finite import COUNTS, FiniteWatch, require_finite
from blocklearn.training.learner import Learner
from blocklearn.training.masked_walk import MaskedWalk
from blocklearn.training.monitor_times import Rhythm, require_in_time
from blocklearn.training.monitors import require_monitors
from blocklearn.training.place import Place, forget_restart
from blocklearn.training.schedule import Schedule, SimultaneousSchedule, require_shared_batches
from blocklearn.training.trainer_parts import refuse_callbacks, refuse_precision, refuse_settings
from blocklearn.training.unfinished import UNFINISHED, put_unfinished, unfinished
from blocklearn.training.update_rule import UpdateRule
from blocklearn.training.watching import Watching


class LightningWalk(MaskedWalk):
    """Runs the blocks in `self.walked` on every batch that the Trainer hands over, logs what they
    say, and counts one step per batch. Blocks, learners and executions know nothing of the Trainer.

    Args:
        rule: how each block is updated from its loss.
        schedule: which blocks learn when.
        execution: which block runs when, and where.
        metrics: what else is logged of every block; each block gets a copy.
    """

    def __init__(
        self,
        rule: UpdateRule,
        schedule: Schedule | None = None,
        execution: Execution | None = None,
        metrics: Sequence[BlockMetric] = (),
    ) -> None:
        super().__init__(execution or InTurn())
        self.automatic_optimization = False
        self.rule = rule
        self.schedule = schedule or SimultaneousSchedule()
        self.watching = Watching(metrics, self.log_dict)
        self.watch = FiniteWatch(rule.non_finite, rule.non_finite_limit)
        self.learners: list[Learner] = []  # while training
        self._place: Place | None = None  # where a run that is resumed goes on
        self._unfinished: Sequence[Mapping[str, Any]] = ()
        # the first block to run; above 0 where batches hold the features of the block before it
        self.entry = 0
        self.seed = 0
        self._total_steps: int | None = None
        self.monitors_checked = False  # by whoever started the run

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self._require_a_batch_to_normalise_over(batch)
        clock = self.clock(batch_idx)
        if self.across:
            self.across.before_batch(clock)
        running = self._running(clock)
        for learner in running:
            learner.prepare(clock)
        batch = self.masked(batch, clock)
        stored = [view.flatten(0, 1) for view in batch.stored]
        first = Carried(stored or batch.views)
        for learner, output in self.chosen.run(running, first, batch, clock):
            self._log_block(learner.block, output, batch, "", lr=learner.lr)
            self.watching.observe(learner.block, output, "", clock, self._log_interval)
        self._count_batch()
        if self.across:
            self.across.after_batch(self.global_step)

    def clock(self, batch_idx: int) -> Clock:
        """Of a training batch, by its number in the epoch."""
        group = self.rule.accumulate_batches
        within = batch_idx % group
        left = self.trainer.num_training_batches - batch_idx  # this batch included
        return Clock(
            self.global_step,
            self.total_steps,
            self.current_epoch,
            self.seed,
            data_rank(),
            group=int(min(group, within + left)),
            updates=self.updated_at(batch_idx),
        )

    def updated_at(self, batch_idx: int) -> bool:
        """Whether the weights are updated at the end of this batch of the epoch, so that no
        gradient waits for the next."""
        group = self.rule.accumulate_batches
        return (batch_idx + 1) % group == 0 or self.trainer.is_last_batch

    def _running(self, clock: Clock) -> list[Learner]:
        """From the entry to the last block that learns; nobody needs what lies behind it."""
        last = max(
            (n for n, learner in enumerate(self.learners) if learner.learns(clock)), default=-1
        )
        return self.learners[self.entry : last + 1]

    def window(self, block: LocalBlock) -> range:
        """The batches from which a block learns: what the schedule says, up to the block's own stop
        epoch."""
        steps_per_epoch = int(min(self.trainer.num_training_batches, self.total_steps))
        return self.window_within(block, steps_per_epoch, self.total_steps)

    def window_within(self, block: LocalBlock, steps_per_epoch: int, total_steps: int) -> range:
        """The same for a run of that length, before there is a Trainer."""
        window = self.schedule.window(
            self._place_of(block), len(self.walked), steps_per_epoch, total_steps
        )
        if block.settings.stop_epoch is None:
            return window
        stop = min(window.stop, block.settings.stop_epoch * steps_per_epoch)
        return range(window.start, max(stop, window.start))

    def _place_of(self, block: LocalBlock) -> int:
        """Among the blocks of this walk: a block that is trained by itself is the first of one."""
        return next(place for place, other in enumerate(self.walked) if other is block)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        clock = Clock(self.global_step, learning=False)
        batch, carried = self.masked(batch, clock), Carried(batch.views)
        for block, output in self.chosen.look(self.walked, carried, batch, clock):
            self._log_block(block, output, batch, "val_")
            self.watching.observe(block, output, "val_", clock, 0)

    def on_validation_epoch_end(self) -> None:
        for block in self.walked:
            self.watching.log(block.name, "val_")
        self.share_metrics()

    def configure_optimizers(self) -> list[Optimizer]:
        """One optimizer per block. There are no scheduler objects: the learning rate is a function
        of the batch count."""
        batch_size = getattr(self._datamodule, "batch_size", None)
        built = [
            self.rule.build_optimizer(block.parameters(), batch_size, block.settings.lr_factor)
            if is_here(block)
            else SGD(block.parameters(), lr=0.0)  # another process has it
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
        self.seed = torch.initial_seed()
        strategy = self.trainer.strategy
        self.place_blocks()
        if not isinstance(strategy, (SingleDeviceStrategy, BlockwiseDDPStrategy)):
            raise UserError(
                f"trainer.strategy: {type(strategy).__name__} expects one backward pass per step, "
                "blockwise training makes one per block: leave --trainer.strategy alone; in "
                'Python pass strategy="blockwise_ddp"'
            )
        refuse_precision(self.trainer.precision)
        if not self.monitors_checked:
            trainer: Any = self.trainer
            validates = trainer.limit_val_batches != 0
            for line in require_monitors(self, trainer.callbacks, self._datamodule, validates):
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
            statistics = {
                learner.block.name: learner.statistics
                for learner in self.learners
                if learner.statistics
            }
            checkpoint[UNFINISHED] = unfinished(self.walked, statistics)
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
        trainer: Any = self.trainer
        if self._place:
            self._place.go_on(trainer)
        self._heed_configured_options()
        self.learners = [
            Learner(
                block,
                optimizer,
                self.rule,
                self.watch,
                self.window(block),
                trainer.num_training_batches,
                self.manual_backward,
                self._reads_losses,
                self.replica(block),
            )
            for block, optimizer in zip(self.walked, trainer.optimizers, strict=True)
        ]
        if self._place:
            kept = put_unfinished(self.walked, self._unfinished, data_rank())
            for learner in self.learners:
                learner.statistics = kept.get(learner.block.name, [])
            trainer.should_stop |= stopped_early(trainer.callbacks) is not None
        self._place, self._unfinished = None, ()
        windows = [learner.window for learner in self.learners]
        require_shared_batches(self.walked, windows)
        self.require_joinable(windows)
        if not trainer.fast_dev_run:
            require_in_time(self.walked, windows, trainer.callbacks, self._rhythm)
        shortest = min(trainer.num_training_batches, self.total_steps)
        # so that a short run leaves a trace too
        trainer.log_every_n_steps = max(1, min(self._log_interval, shortest))

    def on_train_end(self) -> None:
        self.learners = []
        self.let_all_arrive()

    def on_train_epoch_start(self) -> None:
        forget_restart(self.trainer)

    def _heed_configured_options(self) -> None:
        """A resumed run's optimizers come back with the checkpoint's rates and decays; the
        configuration's hold."""
        for optimizer, options in zip(self.trainer.optimizers, self._options, strict=True):
            for group, configured in zip(optimizer.param_groups, options, strict=True):
                group.update(
                    {name: value for name, value in configured.items() if name != "params"}
                )

    def _count_batch(self) -> None:
        # Lightning counts optimizer steps: K per batch with K optimizers. Everything that depends
        # on `global_step` (max_steps, checkpoints, loggers, resuming) means batches, so exactly one
        # is counted.
        counter = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        counter.increment_ready()
        counter.increment_completed()

    def _log_block(
        self, block: LocalBlock, output: BlockOutput, batch: Batch, prefix: str, **extra: float
    ) -> None:
        size = batch.label.shape[0]
        name = f"{block.name}/{prefix}"
        # Our own losses are those of the whole batch on every process; a user's may not be.
        over_all = bool(prefix)
        loss = output.loss.detach()
        self.log(f"{name}loss", loss, prog_bar=not prefix, batch_size=size, sync_dist=over_all)
        if not prefix and (self.global_step + 1) % self._log_interval:
            # the loggers would not see them, and a call of `log` costs more than a small layer
            return
        if not prefix and self.watch.policy == "skip":
            extra["skipped"] = float(self.watch.skipped[block.name])
        metrics = {name + key: value for key, value in {**output.metrics, **extra}.items()}
        self.log_dict(metrics, batch_size=size, sync_dist=over_all)

    def _reads_losses(self, step: int) -> bool:
        """Whether losses are read at this batch anyway. Reading one waits for the device."""
        return step % self._log_interval == 0

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
