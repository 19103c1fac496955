"""The memory of a process, and of a GPU."""

import resource
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def start_of_peak(device: torch.device) -> float:
    """Megabytes in use; from now on the peak counts anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    # Linux: the peak of the resident set begins at what it is now
    Path("/proc/self/clear_refs").write_text("5")
    return megabytes_of("VmRSS")


def peak(device: torch.device) -> float:
    """Most megabytes in use since then."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_megabytes()


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
