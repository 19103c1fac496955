"""End a run that is asked to end: at a batch's border, with its state on disk."""

import os
import re
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from blocklearn.callbacks.last_checkpoint import LastCheckpoint, borders_of
from blocklearn.distributed.borders import AtBorders, Border
from blocklearn.training.lightning_walk import LightningWalk

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)


class Stopped(BaseException):
    """The run ended because it was asked to.

    Args:
        number: of the signal.
        saved: whether the state at that batch is on disk.
    """

    def __init__(self, number: int, saved: bool) -> None:
        super().__init__(
            f"{signal.Signals(number).name}, {'saved' if saved else 'nothing new to save'}"
        )
        self.number, self.saved = number, saved

    @property
    def status(self) -> int:
        """Of the command: 130 for Ctrl-C, as shells have it, 143 (SIGTERM) for all others, so that
        a scheduler sees one status for one thing."""
        return 128 + (signal.SIGINT if self.number == signal.SIGINT else signal.SIGTERM)


class StopOnSignal(AtBorders, Callback):
    """On SIGTERM, Ctrl-C or SLURM's SIGUSR1, to whichever process of the run: all processes agree
    at the end of a batch, save the last checkpoint there, and the run ends with `Stopped`. A second
    Ctrl-C ends it at once.

    A batch whose gradients wait for the next (`accumulate_batches`) is no border. In a job of
    SLURM, SIGUSR1 also puts the job back into the queue (`scontrol requeue`); with `--resume auto`
    the same command then goes on.

    Args:
        checkpoint: what saves the state; null where the run keeps none.
    """

    def __init__(self, checkpoint: LastCheckpoint | None) -> None:
        self.checkpoint = checkpoint
        self._received = self._number = 0  # of the signal: here, and agreed on by all processes
        self._saved = False
        self._listening = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}
        self._group: Any = None
        self._borders: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._listen()  # the Trainer has put its own in our place
        self._borders = borders_of(trainer)
        # asking over a CPU's group waits for no device
        if trainer.world_size > 1 and self._borders is None:
            self._group = (
                dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
            )

    def wish(self) -> Border:
        return Border(signal=self._received)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(pl_module, LightningWalk) and not pl_module.updated_at(batch_idx):
            return
        self._number = self._agreed()
        self._save_if_asked(trainer)

    # The metrics of a batch reach the loggers behind its end, so the run stops at whatever comes
    # next.
    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._stop_if_asked(trainer)

    def on_validation_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_within_validation(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._number = self._agreed()
            self._stop_within_validation(trainer)

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        # otherwise when the next begins: others have their turn in this hook behind us
        if self._saved:
            self._stop_if_asked(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        self._stop_if_asked(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._unlisten()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._unlisten()

    def stop_early(self) -> None:
        """For work between two batches that takes long and whose state need not be saved, in a run
        of one process."""
        if self._received:
            raise Stopped(self._received, saved=False)

    def _stop_within_validation(self, trainer: Trainer) -> None:
        """At its end where weights are averaged: within it the averages take the place of the
        network's own."""
        averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # pyright: ignore
        if self._saved or not averages:
            self._stop_if_asked(trainer)

    def _save_if_asked(self, trainer: Trainer) -> None:
        if self._number and self.checkpoint is not None and not self._saved:
            self.checkpoint.save(trainer)
            self._saved = True

    def _stop_if_asked(self, trainer: Trainer) -> None:
        self._save_if_asked(trainer)
        if not self._number:
            return
        if self._number == getattr(signal, "SIGUSR1", None) and trainer.is_global_zero:
            requeue()
        if isinstance(trainer.lightning_module, LightningWalk):
            trainer.lightning_module.let_all_arrive()
        raise Stopped(self._number, self._saved)

    def _agreed(self) -> int:
        """The signal that any process received; 0 for none."""
        if self._borders is not None:
            return self._borders.here.signal
        if self._group is None:
            return self._received
        received = torch.tensor(self._received)
        dist.all_reduce(received, dist.ReduceOp.MAX, self._group)
        return int(received)

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python delivers signals to the main thread only
        self._listening = True
        for number in SIGNALS:
            before = signal.signal(number, self._note)
            self._before.setdefault(number, before)

    def _unlisten(self) -> None:
        self._listening = False
        for number, before in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # a loader's, which inherited this; Ctrl-C reaches it, and is not for it
        if os.getpid() != self._process:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if not self._listening:  # the Trainer has put us back after the run
            signal.signal(number, self._before[number])
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT and self._received:
            raise KeyboardInterrupt
        self._received = number
        if number == signal.SIGINT and sys.stderr.isatty():
            os.write(2, b"\nStopping after this batch; Ctrl-C again to stop at once.\n")


def stop_early(trainer: Trainer) -> None:
    """Between two batches of a long piece of work: end the run if it was asked to.

    Raises:
        Stopped: if so.
    """
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, StopOnSignal):
            callback.stop_early()


def requeue() -> None:
    """Put this job of SLURM back into the queue; nothing outside of one."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch(r"[0-9_]+", job):
        return
    try:
        status = subprocess.run(["scontrol", "requeue", job], check=False, timeout=20).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"blocklearn: cannot requeue job {job}: {error}", file=sys.stderr)
        return
    print(
        f"blocklearn: job {job} "
        f"{'requeued' if not status else f'not requeued, scontrol says {status}'}",
        file=sys.stderr,
    )
