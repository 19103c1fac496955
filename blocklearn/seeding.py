"""Keyed randomness: every draw is a function of what it is for, never of the process that happens
to make it."""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_UINT64 = (1 << 64) - 1


def fold_seed(*keys: int) -> int:
    """Mix integers into one 63-bit seed. The order of the keys matters; the result is the same on
    every machine."""
    packed = struct.pack(f"<{len(keys)}Q", *(key & _UINT64 for key in keys))
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def keyed_generator(device: torch.device | str, *keys: int) -> torch.Generator:
    """A fresh generator on `device` whose stream depends on `keys` alone."""
    return torch.Generator(device=device).manual_seed(fold_seed(*keys))


@contextmanager
def keyed_randomness(*keys: int) -> Iterator[None]:
    """Inside the block, torch's global CPU stream depends on `keys` alone; after it the stream goes
    on as if nothing had been drawn. For code that draws from the global stream, such as dropout and
    torchvision's transforms."""
    stream = torch.default_generator
    outside = stream.get_state()
    stream.manual_seed(fold_seed(*keys))
    try:
        yield
    finally:
        stream.set_state(outside)
