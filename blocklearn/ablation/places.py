"""Which cores and devices each of several runs beside one another gets."""

import os
from collections.abc import Sequence

from blocklearn.machine import available_cores

THREADS = "OMP_NUM_THREADS"
DEVICES = "CUDA_VISIBLE_DEVICES"


def places_on(
    parallel: int | None, devices: Sequence[str], needed: int = 1
) -> list[dict[str, str]]:
    """For each of the runs beside one another, the variables of its environment: the cores are
    shared out evenly, and so are the devices, `needed` to a run.

    Args:
        parallel: how many runs; null for as many as the devices are enough for, one without any.
        devices: the names of those that may be used, as `CUDA_VISIBLE_DEVICES` has them.
        needed: devices of one run, at least 1.
    """
    groups = [devices[at : at + needed] for at in range(0, len(devices) - needed + 1, needed)]
    count = parallel or max(1, len(groups))
    threads = {} if THREADS in os.environ else {THREADS: str(max(1, available_cores() // count))}
    return [{**threads, **_devices(groups, number)} for number in range(count)]


def visible_devices(count: int) -> list[str]:
    """The names of the CUDA devices that this process sees, of which there are `count`."""
    told = [name.strip() for name in os.environ.get(DEVICES, "").split(",") if name.strip()]
    return told[:count] if told else [str(number) for number in range(count)]


def _devices(groups: Sequence[Sequence[str]], number: int) -> dict[str, str]:
    return {DEVICES: ",".join(groups[number % len(groups)])} if groups else {}
