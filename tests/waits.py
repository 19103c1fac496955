"""Where a training step would wait for a GPU, found without one: the step runs on the meta device,
whose tensors have sizes and no numbers, so that reading one is an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from blocklearn import Batch, BlockwiseModule
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.execution import InTurn
from blocklearn.training.finite import FiniteWatch
from blocklearn.training.learner import Learner

STAND_IN = torch.device("meta")


class Waits(TorchDispatchMode):
    """Lists the calls that make the host wait for the device: copies from one to the other, unless
    they say that nobody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            tensors = [x for x in tree_leaves((args, made)) if isinstance(x, Tensor)]
            waits = not (kwargs or {}).get("non_blocking", False)
            if waits and len({x.device for x in tensors}) > 1:
                self.calls.append(f"{func} of {tuple(tensors[0].shape)}")
        return made


class NumbersOfTheHost(TorchFunctionMode):
    """The same for tensors made on the device from numbers of Python, which are copied there."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor) and not made.is_cpu:
            self.calls.append(f"{func.__name__} of {tuple(made.shape)}")
        return made


@contextmanager
def like_a_gpu() -> Iterator[Waits]:
    """The meta device is taken for a GPU: losses are left unread there, autocast is off, and random
    numbers come from a stream of the CPU."""
    plain, waits = torch.autocast, Waits()

    def autocast(device: str, *args: Any, **kwargs: Any) -> Any:
        return plain("cpu" if device == "meta" else device, *args, **kwargs)

    with (
        patch("torch.autocast", autocast),
        patch("torch.is_autocast_enabled", lambda device: False),
        patch("torch.Generator", lambda device=None: torch.default_generator),
        patch("blocklearn.training.finite._on_device", lambda x: x.is_meta),
        NumbersOfTheHost(waits.calls),
        waits,
    ):
        yield waits


def learners_of(network: BlockwiseModule) -> list[Learner]:
    """As the walk makes them, at a batch whose losses nobody reads."""
    network.train()
    watch = FiniteWatch()
    return [
        Learner(
            block,
            network.rule.build_optimizer(block.parameters(), 8),
            network.rule,
            watch,
            range(100),
            10,
            reads=lambda step: False,
        )
        for block in network.walked
    ]


def take_step(learners: list[Learner], batch: Batch, step: int) -> None:
    """Forward, backward and update of every block."""
    for _ in InTurn().run(learners, Carried(batch.views), batch, Clock(step, 100)):
        pass
