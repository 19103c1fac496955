"""How many processes a run asks for, and which of them this one is."""

import sys

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

Devices = int | str | list[int]


def asks_for_several(accelerator: str, devices: Devices, num_nodes: int) -> bool:
    """Whether the Trainer's flags mean more than one process. Each device has its own.

    Args:
        accelerator: `auto`, `cpu`, `gpu`, `cuda`, ...
        devices: a number, numbers of devices (`[0, 2]` or `"0,2"`), -1 for all, or `auto`: all
            GPUs, one CPU process.
        num_nodes: number of machines.
    """
    return count_processes(accelerator, devices, num_nodes) > 1


def count_processes(accelerator: str, devices: Devices, num_nodes: int) -> int:
    """How many processes the Trainer's flags mean; the arguments are those of
    `asks_for_several`."""
    return max(num_nodes * _count(accelerator, devices), 1)


def one_of(devices: Devices) -> Devices:
    """The first device of those asked for."""
    if isinstance(devices, str) and "," in devices:
        return [int(devices.split(",")[0])]
    return devices[:1] if isinstance(devices, list) else 1


def is_first_process() -> bool:
    """Whether this is the process that talks to the user and writes files; known before any process
    group is."""
    return getattr(rank_zero_only, "rank", 0) == 0


def say(line: str) -> None:
    """One line to the user, from the first process alone."""
    if is_first_process():
        print(line, file=sys.stderr)


def _count(accelerator: str, devices: Devices) -> int:
    if isinstance(devices, list):
        return len(devices)
    text = str(devices)
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    if text not in ("auto", "-1"):
        return int(text)
    return torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") else 1
