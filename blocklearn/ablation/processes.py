"""The process of one trial, of which there is never more than one at a time."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from blocklearn.ablation.trials import Trial, read_record
from blocklearn.machine import PARENT

LOCK = ".lock"


@dataclass
class Process:
    """Of a trial that is running.

    Attributes:
        trial: that is run.
        place: its number among the runs beside one another.
        popen: the process.
        began: when, of the monotonic clock.
    """

    trial: Trial
    place: int
    popen: "subprocess.Popen[bytes]"
    began: float = field(default_factory=time.monotonic)

    def note_seconds(self) -> None:
        """Add the time that it took to the trial's record."""
        record = read_record(self.trial.folder) or {}
        before = record.get("seconds", 0.0)
        self.trial.write({**record, "seconds": round(before + time.monotonic() - self.began, 1)})


def start(trial: Trial, place: int, environment: Mapping[str, str]) -> Process | None:
    """Begin the run of a trial, or go on with it; None where another process runs it still.

    The process keeps its folder locked for as long as it lives, and is asked to end when this one
    has gone: what a killed command has left behind cannot run beside what is started anew.

    Args:
        trial: recorded in its folder, where its output goes to `log.txt`.
        place: its number.
        environment: what it has beside this process' own.
    """
    trial.folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(trial.folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with trial.log.open("ab") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", "blocklearn", *trial.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment, PARENT: str(os.getpid())},
                pass_fds=[lock],
                process_group=0,
            )
    except BlockingIOError:
        return None
    finally:
        os.close(lock)
    return Process(trial, place, popen)
