"""The processes among which a batch is divided: all of them, or those that hold the same blocks."""

from typing import Any

import torch.distributed as dist

_data_group: Any = None  # None: all processes


def use_data_group(group: Any) -> None:
    """Let every collective of this process go over these processes, rather than over all.

    Args:
        group: a process group that this process is in; None for all processes.
    """
    global _data_group
    _data_group = group


def data_group() -> Any:
    """The group that was named; None for all processes."""
    return _data_group


def world_size() -> int:
    """Number of processes among which a batch is divided; 1 without a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size(_data_group)


def data_rank() -> int:
    """Which of them this process is, from 0."""
    return dist.get_rank(_data_group) if world_size() > 1 else 0
