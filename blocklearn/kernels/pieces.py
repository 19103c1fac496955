"""How much of a tensor a kernel works on at a time: what a processor's cache takes, or what keeps a
GPU busy."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_like_a_gpu = ContextVar("_like_a_gpu", default=False)


def at_a_time(device: torch.device, on_cpu: int, elsewhere: int) -> int:
    """The number for this device."""
    return on_cpu if device.type == "cpu" and not _like_a_gpu.get() else elsewhere


@contextmanager
def pieces_of_a_gpu() -> Iterator[None]:
    """On any device, for counting what a GPU would hold."""
    token = _like_a_gpu.set(True)
    try:
        yield
    finally:
        _like_a_gpu.reset(token)
