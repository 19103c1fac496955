"""What this machine has, and how a process ends with the one that started it."""

import ctypes
import os
import signal
import sys

PARENT = "BLOCKLEARN_PARENT"  # tells a process who started it
ON_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_parent() -> None:
    """Where the process that started this one asks for it by the variable `PARENT`, its number:
    SIGTERM, once that process is gone, however it ended. Only Linux can do so; elsewhere this does
    nothing."""
    parent = os.environ.pop(PARENT, "")
    if not parent.isdecimal() or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(ON_DEATH_OF_PARENT, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it was gone before
        os.kill(os.getpid(), signal.SIGTERM)
