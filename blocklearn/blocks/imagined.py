"""Networks on tensors that have a size and no numbers: nothing is computed and no memory is taken,
so that steps of any size can be counted on any machine."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Module = TypeVar("Module", bound=nn.Module)


@contextmanager
def imagined_weights() -> Iterator[None]:
    """Modules that are built inside have such weights and buffers from the beginning; all other
    tensors are ordinary ones."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def parameter(module: nn.Module, name: str, value: nn.Parameter | None) -> Any:
        if value is None or isinstance(value, FakeTensor):
            return value
        return nn.Parameter(_like(mode, value), value.requires_grad)

    def buffer(module: nn.Module, name: str, value: Tensor | None) -> Any:
        return value if value is None or isinstance(value, FakeTensor) else _like(mode, value)

    hooks = (
        register_module_parameter_registration_hook(parameter),
        register_module_buffer_registration_hook(buffer),
    )
    try:
        with _Copies(mode, of_all=False), _NumbersThatAreRead():
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def imagining(module: Module, leave_out: tuple[object, ...] = ()) -> Iterator[Module]:
    """A copy of a module on such tensors; all that is made inside is imagined too, in one process,
    whether or not there are others.

    Args:
        module: left as it is, Python attributes included.
        leave_out: what it refers to and the copy need not: null takes its place.
    """
    own = next((p.fake_mode for p in module.parameters() if isinstance(p, FakeTensor)), None)
    mode = own or FakeTensorMode(allow_non_fake_inputs=True)
    with _Copies(mode, of_all=True):
        copied = copy.deepcopy(module, {id(thing): None for thing in leave_out})
    with _alone(), mode, _NumbersThatAreRead():
        yield copied


def _like(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    with mode:
        return torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device
        )


class _Copies(TorchFunctionMode):
    """Deep copies of tensors are imagined: of all of them, or of those that are imagined
    already."""

    def __init__(self, mode: FakeTensorMode, of_all: bool) -> None:
        self.mode, self.of_all = mode, of_all

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and (self.of_all or isinstance(args[0], FakeTensor)):
            tensor, memo = args
            if id(tensor) not in memo:
                made = _like(self.mode, tensor)
                is_parameter = isinstance(tensor, nn.Parameter)
                made = nn.Parameter(made, tensor.requires_grad) if is_parameter else made
                memo[id(tensor)] = made
            return memo[id(tensor)]
        if func is Tensor.clone and self.of_all:  # how an ordinary parameter copies itself
            return _like(self.mode, args[0])
        return func(*args, **(kwargs or {}))


@contextmanager
def _alone() -> Iterator[None]:
    """What is imagined cannot be sent to other processes, and they are not there to answer."""
    kept = torch.distributed.is_initialized
    torch.distributed.is_initialized = lambda: False
    try:
        yield
    finally:
        torch.distributed.is_initialized = kept


class _NumbersThatAreRead(TorchDispatchMode):
    """Whoever reads a number gets one that training goes on with: 1; 0 for an integer, which is
    where something begins; False for a truth value (no label is out of range)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            dtype = args[0].dtype
            return False if dtype is torch.bool else 1.0 if dtype.is_floating_point else 0
        if func is torch.ops.aten.bincount.default:  # as long as the largest number asks
            least = args[2] if len(args) > 2 else (kwargs or {})["minlength"]
            return args[0].new_empty(least)
        return func(*args, **(kwargs or {}))
