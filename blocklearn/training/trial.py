"""Try a network without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn


class Network(Protocol):
    """What has modules."""

    def modules(self) -> Iterator[nn.Module]: ...
    def eval(self) -> Any: ...


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """In eval mode, without graph or random numbers; afterwards every module is in the mode that it
    was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
