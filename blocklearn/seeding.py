"""Keyed randomness: every draw is a function of what it is for, never of the process that happens
to make it."""

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

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
def keyed_randomness(*keys: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside the block, torch's global streams depend on `keys` alone; after it they go on as if
    nothing had been drawn. For code that draws from a global stream, such as dropout and
    torchvision's transforms.

    Args:
        keys: as for `fold_seed`.
        device: a GPU whose own stream is meant too; by default that of the CPU alone. Neither
            waits for the device.
    """
    streams = [torch.default_generator]
    if device is not None and device.type == "cuda":
        streams.append(_stream_of(device))
    outside = [stream.get_state() for stream in streams]
    for stream in streams:
        stream.manual_seed(fold_seed(*keys))
    try:
        yield
    finally:
        for stream, state in zip(streams, outside, strict=True):
            stream.set_state(state)


def _stream_of(gpu: torch.device) -> torch.Generator:
    torch.cuda.init()  # there are none before
    number = torch.cuda.current_device() if gpu.index is None else gpu.index
    return torch.cuda.default_generators[number]


def keyed_uniform(index: Tensor, count: int, *keys: int) -> Tensor:
    """`count` numbers in [0, 1) for each sample, `(B, count)` float64 on the device of `index`.
    They depend on the sample's index and the keys alone, and are the same on every device: integer
    arithmetic only (splitmix64, Steele et al. 2014, doi 10.1145/2660193.2660195).

    Args:
        index: `(B,)` integers.
        count: numbers per sample.
        keys: as for `fold_seed`.
    """
    begin = _mixed(index.long() + fold_seed(*keys))
    counter = torch.arange(1, count + 1, device=index.device) * _GOLDEN
    bits = _mixed(begin.unsqueeze(1) + counter)
    return _shifted(bits, 11).double() * 2.0**-53


_GOLDEN, _FIRST, _SECOND = (  # of splitmix64, as signed integers
    factor - (1 << 64) for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def _mixed(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """To the right, with zeros moving in: integers of torch have a sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
