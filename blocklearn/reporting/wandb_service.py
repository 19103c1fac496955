"""The process beside ours in which W&B works (`wandb-core`), and its end, which must come."""

import subprocess
from contextlib import suppress
from typing import Any

from blocklearn.reporting.patient_thread import PatientThread


def end_service(run: Any, exit_code: int, seconds: float) -> None:
    """Let W&B end its process; kill it where it has not ended in time. Nothing is left to do when
    Python exits, and W&B can be started again.

    Args:
        run: W&B's, or None.
        exit_code: 1 where the run failed.
        seconds: after which the process is killed.
    """
    import wandb

    process = _service()
    _leave_alone(run)
    with suppress(BaseException):  # it may be dead already, or W&B leaves with sys.exit
        PatientThread().wait_for(lambda: wandb.teardown(exit_code), seconds)
    if process is not None:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    with suppress(Exception):
        _forget_run()


def _service() -> subprocess.Popen[bytes] | None:
    """None where W&B did not start one, or keeps it elsewhere than W&B 0.31 does."""
    from wandb.sdk import wandb_setup

    place: object = wandb_setup
    for name in ("_singleton", "_connection", "_proc", "_process"):
        place = getattr(place, name, None)
    return place if isinstance(place, subprocess.Popen) else None


def _leave_alone(run: Any) -> None:
    """A run that could not be finished has threads that would go on asking, and listens to what is
    printed."""
    with suppress(Exception):
        run._run_status_checker.stop()
    with suppress(Exception):
        run._console_stop()


def _forget_run() -> None:
    """Else a run that could not be finished is taken for the current one by the next."""
    from wandb.sdk.lib import module

    module.unset_globals()
