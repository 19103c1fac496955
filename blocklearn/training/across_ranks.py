"""A run whose blocks lie in several processes, on Lightning's Trainer."""

from collections.abc import Mapping
from typing import Any

from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from blocklearn.distributed.block_parallel import BlockParallelStrategy
from blocklearn.distributed.borders import AtBorders
from blocklearn.distributed.lost import note_batch
from blocklearn.training.block_parallel import BlockParallel
from blocklearn.training.contract import Clock
from blocklearn.training.execution import Execution
from blocklearn.training.trainer_parts import refuse_across_ranks


class AcrossRanks:
    """What a walk does besides where its blocks lie in several processes: the rows of all blocks'
    metrics are joined in the first process, and callbacks see the metrics of all blocks.

    Lightning's own writing of rows, and its asking for signals, give way to that until `finish`.

    Args:
        trainer: of the run.
        strategy: its strategy.
        inner: runs the blocks of one process.
    """

    def __init__(self, trainer: Trainer, strategy: BlockParallelStrategy, inner: Execution) -> None:
        self.trainer: Any = trainer
        refuse_across_ranks(self.trainer.callbacks)
        self.strategy = strategy
        self.finished = False
        self.execution = BlockParallel(inner, strategy.own_indices, strategy.inbox, strategy.outbox)
        self.rows = strategy.rows(self._write)
        trainer._logger_connector.log_metrics = self._take_row  # pyright: ignore
        # Lightning asks for signals by a broadcast at every batch, which keeps all in step; the
        # borders do that
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # pyright: ignore

    def before_batch(self, clock: Clock) -> None:
        """Agree on what all processes do behind it."""
        assert self.strategy.borders is not None
        note_batch(clock.step)
        callbacks = [c for c in self.trainer.callbacks if isinstance(c, AtBorders)]
        self.strategy.borders.before(clock.step, clock.updates, [c.wish() for c in callbacks])
        self.strategy.in_step()

    def after_batch(self, step: int) -> None:
        """Of `step` batches: write what is there; where a state is about to be kept for its
        metrics, let all processes know them."""
        assert self.strategy.borders is not None
        self.strategy.borders.behind(step - 1)
        self.rows.write_complete()
        if any(_saves_behind(callback, step) for callback in self.trainer.callbacks):
            self.share_metrics()

    def share_metrics(self) -> None:
        """Give the callbacks of every process the metrics of all blocks. Every process waits for
        the others."""
        connector = self.trainer._logger_connector
        # its own of this moment, not what it was told before
        own = apply_to_collection(connector.metrics["callback"], Tensor, Tensor.cpu)
        connector._callback_metrics.update(self.strategy.share(own))

    def finish(self) -> None:
        """Let all arrive that is still under way, once."""
        if self.finished:
            return
        self.finished = True
        self.strategy.finish()
        self.rows.finish()
        del self.trainer._logger_connector.log_metrics
        del self.trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor

    def _take_row(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """In place of the connector's `log_metrics`, and as it counts."""
        self.trainer._logger_connector._logged_metrics.update(metrics)
        row: dict[str, float] = convert_tensors_to_scalars(dict(metrics))
        if step is None and "step" in row:
            step = int(row.pop("step"))
        if row and step is None:
            row.setdefault("epoch", self.trainer.current_epoch)
        counted: int = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        self.rows.give(counted if step is None else step, row)

    def _write(self, step: int, values: dict[str, float]) -> None:
        losses = {name: value for name, value in values.items() if name.endswith("/loss")}
        self.trainer._logger_connector._progress_bar_metrics.update(losses)  # of all blocks
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics=values, step=step)
            logger.save()


def _saves_behind(callback: Any, step: int) -> bool:
    every = getattr(callback, "_every_n_train_steps", 0) or 0
    return isinstance(callback, ModelCheckpoint) and every > 0 and step % every == 0
