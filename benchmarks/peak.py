"""The memory of a process."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_megabytes() -> float:
    """Largest resident size of this process so far, in MB.

    Linux keeps two: `ru_maxrss` starts at that of the process which started this one, `VmHWM` at
        nothing.
    """
    if STATUS.exists():
        return megabytes_of("VmHWM")
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def megabytes_of(field: str) -> float:
    """What Linux says of this process: `VmRSS` is its resident size now, `VmHWM` the largest."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024
