"""Weights & Biases that cannot stop or hold up a run: its server may not answer, its process may
die, its disk be full."""

import atexit
import os
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from blocklearn.reporting.patient_thread import PatientThread
from blocklearn.reporting.plain_files import require_room
from blocklearn.reporting.wandb_mend import holds_records, mend_files
from blocklearn.reporting.wandb_service import end_service

START = 8.0  # seconds until W&B has started online
START_OFFLINE = 11.0  # the same offline, which a busy machine alone can hold up
PATIENCE = 26.0  # seconds for start and end together
END = 16.0  # seconds until all is uploaded
FLUSH = 1.0  # seconds between writes of what is logged to W&B's own file
MOST_WAITING = 10_000  # logged batches that W&B has not taken


class PatientWandbLogger(WandbLogger):
    """Lightning's, in a thread of its own: what is logged is handed over and not waited for, and
    whatever W&B raises ends W&B, never the run. Where its process dies the run is kept on offline,
    once.

    Args:
        arguments: those of `WandbLogger`, and `mode`.

    Attributes:
        begun: whether this process has begun a run.
    """

    begun = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._wandb_init.pop("anonymous", None)  # Lightning 2.6 passes it; W&B 0.31 warns of it
        self._waited = 0.0
        self._thread: PatientThread | None = None
        self._lost = self._ended = self._failed = self._revived = False
        self._recent: deque[tuple[float, Callable[[], None]]] = deque()
        self._places: list[str] = []

    @property
    def experiment(self) -> Any:
        return DummyExperiment() if self._lost else super().experiment

    @rank_zero_only
    def start(self, waited: float) -> None:
        """Begin the run at W&B.

        Args:
            waited: seconds waited for W&B already.

        Raises:
            Exception: whatever W&B raises; it is then as if it had not been started.
        """
        PatientWandbLogger.begun = True
        began = time.monotonic() - waited
        try:
            offline = self._wandb_init["mode"] == "offline"
            self._in_thread.wait_for(self._begin, START_OFFLINE if offline else START)
        except BaseException:
            self._lost = True
            end_service(self._experiment, 1, 1.0)
            raise
        self._waited = time.monotonic() - began
        atexit.register(self._finish_at_exit)

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self._send(partial(super().log_metrics, dict(metrics), step))

    @rank_zero_only
    def log_table(self, *args: Any, **kwargs: Any) -> None:
        self._send(partial(super().log_table, *args, **kwargs))

    @rank_zero_only
    def log_image(self, *args: Any, **kwargs: Any) -> None:
        self._send(partial(super().log_image, *args, **kwargs))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        self._send(partial(super().log_hyperparams, params))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Lightning's word on how a job ended; `finish` is the end."""
        self._failed = self._failed or status == "failed"
        self._send(partial(super().finalize, status))

    @rank_zero_only
    def finish(self, failed: bool = False) -> None:
        """End the run at W&B, where it is recorded as failed or not, within `PATIENCE`. Nothing is
        logged any more. Python's exit does it where nobody else did.

        Args:
            failed: whether the run ended in an error.
        """
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self._finish_at_exit)
        code = int(failed or self._failed)
        try:
            if self._experiment is not None and not self._lost:
                self._upload(code)
        finally:
            end_service(self._experiment, code, 3.0)
        self._mend()

    def _finish_at_exit(self) -> None:
        # Python's mark of an error that nobody caught
        self.finish(failed=hasattr(sys, "last_value"))

    def _upload(self, code: int) -> None:
        seconds = max(2.0, min(END, PATIENCE - self._waited))
        try:
            self._in_thread.wait_for(partial(self._finish_run, code), seconds)
            self._tell_where_disk_is_full()
        except TimeoutError:
            self._lose("has not taken everything in time")
        except Exception as error:
            self._lose(f"ended with an error ({first_line(error)})")

    def _finish_run(self, code: int) -> None:
        try:
            self.experiment.finish(exit_code=code)
        except TimeoutError:
            raise
        except Exception as error:  # its process was killed since anything was logged
            self._go_on_offline(first_line(error))
            self.experiment.finish(exit_code=code)

    def _mend(self) -> None:
        if self._lost and self._experiment is not None:
            mend_files(Path(str(self.save_dir)), self._experiment.id)

    def _tell_where_disk_is_full(self) -> None:
        """W&B itself says nothing of it."""
        try:
            if self._wandb_init["mode"] == "offline" and self._places:
                require_room(Path(self._places[-1]))
        except OSError as error:
            self._lose(f"could not write all of its files ({error.strerror}); metrics.csv is whole")

    @property
    def _in_thread(self) -> PatientThread:
        self._thread = self._thread or PatientThread()
        return self._thread

    def _begin(self) -> None:
        run = super().experiment
        self._places.append(str(Path(run.dir).parent))

    def _send(self, job: Callable[[], None]) -> None:
        if self._in_thread.is_current:
            job()  # Lightning's log_table and log_image call log_metrics: a part of what they do
            return
        if self._lost or self._ended:
            return
        if self._in_thread.num_waiting > MOST_WAITING:
            self._lose("does not take what is logged")
        else:
            self._in_thread.do(partial(self._try, job))

    def _try(self, job: Callable[[], None]) -> None:
        if self._lost:
            return
        self._remember(job)
        try:
            job()
        except BaseException as error:  # it may want to end the process
            self._go_on_offline(first_line(error))

    def _remember(self, job: Callable[[], None]) -> None:
        """For as long as W&B may have them in memory only."""
        now = time.monotonic()
        self._recent.append((now, job))
        while now - self._recent[0][0] > 3 * FLUSH:
            self._recent.popleft()

    def _go_on_offline(self, told: str) -> None:
        if self._revived:
            self._lose(f"ended with an error ({told})")
            return
        self._revived = True
        try:
            self._revive()
        except BaseException as error:
            self._lose(
                f"ended with an error ({told}) and did not start again ({first_line(error)})"
            )
            return
        say(f"W&B ended with an error ({told}). {self.how_to_sync()}")

    def _revive(self) -> None:
        """Same id, so that `wandb sync` puts the two together."""
        run_id = self.experiment.id
        end_service(self._experiment, 1, 1.0)
        mend_files(Path(str(self.save_dir)), run_id)
        self._places = [place for place in self._places if holds_records(Path(place), run_id)]
        self._wandb_init |= {"mode": "offline", "id": run_id, "resume": "allow"}
        self._experiment = None
        self._begin()
        for _, job in self._recent:
            job()

    def _lose(self, told: str) -> None:
        if not self._lost:
            self._lost = True
            say(f"W&B {told}; nothing more is sent to it. {self.how_to_sync()}")

    def how_to_sync(self) -> str:
        """Where the run is kept, and the command that uploads it."""
        kept, quoted = (
            " and ".join(self._places),
            " ".join(shlex.quote(place) for place in self._places),
        )
        return (
            f"The run is kept offline in {kept}; to upload it: wandb sync --include-online {quoted}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_thread": None, "_recent": deque()}


def say(text: str) -> None:
    """One line, for the person at the terminal."""
    with suppress(OSError, ValueError):  # nobody listens any more
        print(f"blocklearn: {text}", file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def quiet_settings() -> Any:
    """W&B's own settings: it says nothing, never waits long, and what is logged is soon on disk."""
    os.environ.setdefault("WANDB_SILENT", "true")
    # the reports wait for the server when Python exits
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wanted = {
        "silent": True,
        "init_timeout": START - 2,
        "finish_timeout": END - 3,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": FLUSH,
    }
    return wandb.Settings(
        **{name: value for name, value in wanted.items() if name in wandb.Settings.model_fields}
    )
