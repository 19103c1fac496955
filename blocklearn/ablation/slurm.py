"""Send the runs of a sweep to SLURM as a job array, through submitit."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from blocklearn.ablation.outcome import last_words
from blocklearn.ablation.processes import Process, start
from blocklearn.ablation.trials import Trial
from blocklearn.errors import UserError

JOB = "slurm_job"  # in the folder of a trial: the number of its job
WARNING_S = 120  # seconds between SLURM's signal and the end of a job's time
DEFAULTS = {"timeout_min": 24 * 60, "cpus_per_task": 8, "gpus_per_node": 1}


class TrialJob:
    """What a job does: begin the run, or go on with it. When the job's time is up the run saves its
    state, and submitit sends the job again.

    Args:
        trial: that is run.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self._process: Process | None = None

    def __call__(self) -> None:
        self.trial.record()
        with _not_ended_by_the_warning():
            self._process = start(self.trial, 0, {})
        if self._process is None:
            raise RuntimeError(f"another process runs {self.trial.folder} still")
        status = self._process.popen.wait()
        self._process.note_seconds()
        if status:
            raise RuntimeError(f"status {status}: {last_words(self.trial.log)}")

    def checkpoint(self) -> Any:
        """Asked for by submitit when the job is about to end."""
        from submitit.helpers import (  # pyright: ignore[reportMissingImports]
            DelayedSubmission,
        )

        if self._process is not None:
            self._process.popen.terminate()
            self._process.popen.wait()
        return DelayedSubmission(TrialJob(self.trial))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_process": None}


@contextmanager
def _not_ended_by_the_warning() -> Iterator[None]:
    """SLURM's signal reaches every process of a job; within this, processes are started that do not
    heed it."""
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, before)


def submit(
    trials: Sequence[Trial],
    folder: Path,
    name: str,
    parallel: int | None,
    settings: Mapping[str, Any],
    cluster: str | None = None,
) -> list[Any]:
    """Send those that are not in the queue already; returns submitit's new jobs, which have a
    `job_id`.

    Args:
        trials: that are to be run.
        folder: for what submitit keeps.
        name: of the jobs.
        parallel: how many run beside one another; null for as many as there is room for.
        settings: of submitit, such as `slurm_partition`, over `DEFAULTS`.
        cluster: of submitit; null for the one that is there, SLURM.

    Raises:
        UserError: where submitit is not installed, or does not take the settings.
    """
    if find_spec("submitit") is None:
        raise UserError(
            "ablate: --executor slurm needs submitit: pip install 'blocklearn[slurm]'; or print a "
            "script for sbatch with --executor script"
        )
    import submitit  # pyright: ignore[reportMissingImports]

    if cluster is None and not shutil.which("sbatch"):
        raise UserError("ablate: --executor slurm: there is no sbatch here; send it from a cluster")
    waiting = [trial for trial in trials if not is_queued(trial)]
    if not waiting:
        return []
    for trial in waiting:
        trial.record()
    try:
        executor = submitit.AutoExecutor(folder / "submitit" / "%j", cluster=cluster)
        array = {"slurm_array_parallelism": parallel} if parallel else {}
        requeued = {
            "slurm_additional_parameters": {"requeue": True},
            "slurm_signal_delay_s": WARNING_S,
        }
        executor.update_parameters(**{"name": name, **DEFAULTS, **array, **requeued, **settings})
        with executor.batch():
            jobs = [executor.submit(TrialJob(trial)) for trial in waiting]
    except (TypeError, ValueError, NameError, RuntimeError) as error:
        raise UserError(f"ablate: --executor slurm: {' '.join(str(error).split())}") from error
    for trial, job in zip(waiting, jobs, strict=True):
        (trial.folder / JOB).write_text(f"{job.job_id}\n")
    return jobs


def is_queued(trial: Trial) -> bool:
    """Whether SLURM has a job for it that has not ended."""
    try:
        job = (trial.folder / JOB).read_text().strip()
    except OSError:
        return False
    if not re.fullmatch(r"[0-9_]+", job):
        return False
    try:
        asked = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(done.stdout.strip())


def read_settings(told: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` as settings; whole numbers as such.

    Raises:
        UserError: for one without a key or a value.
    """
    found: dict[str, Any] = {}
    for one in told:
        key, _, value = one.partition("=")
        if not key or not value:
            raise UserError(f"ablate: --slurm {one}: write KEY=VALUE, as slurm_partition=gpu")
        found[key] = int(value) if value.isdecimal() else value
    return found
