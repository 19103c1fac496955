"""How many bytes tensors hold at once, and how many products are computed. Exact and the same on
every machine, also for tensors that have a size and no numbers."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import (
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
    shape_wrapper,
)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(out: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(out, query, key, value)


ATTENTION: dict[Any, Callable[..., int]] = {  # of shapes; torch itself counts it on a GPU only
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
_COUNTS = flop_registry | {product: shape_wrapper(count) for product, count in ATTENTION.items()}


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations inside it make, from their making to their end; backward
    passes too.

    Attributes:
        now: bytes that live.
        peak: the most so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def known(self, *tensors: torch.Tensor) -> None:
        """Leave these out: they were there before."""
        self._seen.update(tensor.untyped_storage() for tensor in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size


class Products(TorchDispatchMode):
    """Counts as torch's `FlopCounterMode` does, and fused attention on a CPU too. That one also
    follows the modules and thereby keeps tensors alive, so that `LiveBytes` beside it would count
    too many.

    Attributes:
        flops: of convolutions, matrix products and attention; a multiplication and an addition
            are 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        count = _COUNTS.get(func._overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=made))
        return made
