"""The peak memory of a process."""

import resource
import sys
from pathlib import Path


def peak_megabytes() -> float:
    """Largest resident size of this process so far, in MB.

    Linux keeps two: `ru_maxrss` starts at that of the process which started this one, `VmHWM` at nothing.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
