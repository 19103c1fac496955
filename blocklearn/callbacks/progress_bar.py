"""Progress with every block's figures."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.pace import Pace, duration
from blocklearn.callbacks.progress_figures import Progress
from blocklearn.callbacks.progress_views import MOST_LINES, View, choose_view


class BlockProgressBar(ProgressBar):
    """On a terminal a bar, with every block's figures below it, seconds a step, and the time left
    for the epoch and the run; elsewhere a line per epoch.

    While training, figures are read when metrics are logged anyway (`trainer.log_every_n_steps`)
    and at the end of an epoch: reading one waits for the device. Only the first process shows any.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._read: dict[str, Any] = {}
        self._pace = Pace()
        self._view: View | None = None
        self._epoch: Progress | None = None
        self._evaluation: Progress | None = None
        self._evaluation_pace = Pace()

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Those that were logged for the progress bar, as they were last read."""
        interval = max(getattr(trainer, "log_every_n_steps", 1), 1)
        if not (trainer.training and self._read and trainer.global_step % interval):
            self._read_metrics(trainer)
        return self._read

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read, self._pace, self._epoch = {}, Pace(), None
        self._begin()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pace.begin_epoch()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._pace.end_batch()
        if self._view is not None:
            metrics = self.get_metrics(trainer, pl_module)
            self._view.show(self._in_epoch(trainer, batch_idx + 1), metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = self._pace.end_epoch()
        if self._view is None:
            return
        self._read_metrics(trainer)
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        now = self._in_epoch(trainer, done)
        whole = f"{self._speed()}, epoch in {duration(seconds)}, left: {self._rest(trainer, done)}"
        self._epoch = now._replace(pace=whole)
        self._view.end(self._epoch, self._read, _has_line(trainer, pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._view is not None and self._epoch is not None:
            took = duration(self._pace.clock() - self._pace.began)
            whole = self._epoch._replace(pace=f"{self._speed()}, {took} in all")
            self._view.show(whole, self._read, hard=True)
        self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin_evaluation()

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._evaluated("Validation", *args)

    def on_test_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._evaluated("Test", *args)

    def on_predict_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._evaluated("Prediction", *args)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._end_evaluation()
        elif self._view is not None:
            self._read_metrics(trainer)
            self._view.hide("Validation")
        self._pace.pause()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_evaluation()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._end()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._end()

    def _begin(self) -> None:
        if self._enabled and self._view is None:
            self._view = choose_view()

    def _end(self) -> None:
        if self._view is not None:
            self._view.stop()
        self._view = None

    def _begin_evaluation(self) -> None:
        self._begin()
        self._current_eval_dataloader_idx, self._evaluation = None, None
        self._evaluation_pace = Pace()

    def _evaluated(
        self,
        what: str,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
        loader: int = 0,
    ) -> None:
        self._evaluation_pace.end_batch()
        self.has_dataloader_changed(loader)
        if self._view is not None:
            self._evaluation = self._in_evaluation(what, index + 1)
            self._view.show(self._evaluation, self._read)

    def _end_evaluation(self) -> None:
        if self._view is not None and self._evaluation is not None:
            took = duration(self._evaluation_pace.clock() - self._evaluation_pace.began)
            self._view.end(self._evaluation._replace(pace=f"in {took}"), {}, True)
        self._end()

    def _in_evaluation(self, what: str, done: int) -> Progress:
        totals = {
            "Validation": lambda: self.total_val_batches_current_dataloader,
            "Test": lambda: self.total_test_batches_current_dataloader,
            "Prediction": lambda: self.total_predict_batches_current_dataloader,
        }
        total, pace = totals[what](), self._evaluation_pace
        return Progress(what, done, total, f"left {duration(pace.left(total - done, total))}")

    def _in_epoch(self, trainer: Trainer, done: int) -> Progress:
        total = self.total_train_batches
        epoch = self._pace.left_in_epoch(total - done)
        pace = f"{self._speed()}, left: epoch {duration(epoch)}, {self._rest(trainer, done)}"
        return Progress(_name_of_epoch(trainer), done, total, pace)

    def _speed(self) -> str:
        seconds = self._pace.seconds_per_step
        return "? s/step" if seconds is None else f"{seconds:.3g} s/step"

    def _rest(self, trainer: Trainer, done: int) -> str:
        left = _batches_left(trainer, self.total_train_batches, done)
        return f"run {duration(self._pace.left(left, self.total_train_batches))}"

    def _read_metrics(self, trainer: Trainer) -> None:
        self._read.update(trainer.progress_bar_metrics)


def _name_of_epoch(trainer: Trainer) -> str:
    last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
    return f"Epoch {trainer.current_epoch + 1}{last}"


def _batches_left(trainer: Trainer, per_epoch: float, done: int) -> float:
    """Of the whole run."""
    left = float("inf")
    if trainer.max_epochs not in (None, -1):
        left = per_epoch * (trainer.max_epochs - trainer.current_epoch) - done
    if trainer.max_steps > 0:
        left = min(left, trainer.max_steps - trainer.global_step)
    return left


def _has_line(trainer: Trainer, module: LightningModule) -> bool:
    """Whether a log says something of this epoch; of a classifier's, of some."""
    epochs, ended = trainer.max_epochs or 1, trainer.current_epoch + 1
    some = isinstance(module, BlockwiseModule) or ended % max(1, epochs // MOST_LINES) == 0
    return some or ended == epochs
