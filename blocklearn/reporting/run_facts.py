"""Where a run was trained, and what it cost: what is known of it."""

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from blocklearn import __version__

PACKAGES = ("torch", "torchvision", "lightning", "timm")


def environment(device: torch.device) -> dict[str, Any]:
    """Device, peak memory so far, and versions."""
    return {
        "device": _device(device),
        "peak_memory_bytes": _peak(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "blocklearn": __version__,
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def read_facts(path: Path) -> list[dict[str, Any]]:
    """The parts of a run, in order; none where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        return [dict(part) for part in content if "from_batch" in part]
    except (OSError, ValueError, TypeError):
        return []


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine() if device.type == "cpu" else device.type


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0  # not known
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
