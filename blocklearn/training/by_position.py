"""A sequence of tensors that makes each when it is asked for."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from torch import Tensor


class ByPosition(Sequence[Tensor]):
    """Write `_at` and `__len__`; positions from the end and slices are seen to here."""

    @abstractmethod
    def _at(self, position: int) -> Tensor:
        """The tensor at a position from 0 on."""

    @overload
    def __getitem__(self, number: int, /) -> Tensor: ...

    @overload
    def __getitem__(self, number: slice, /) -> list[Tensor]: ...

    def __getitem__(self, number: int | slice, /) -> Tensor | list[Tensor]:
        if isinstance(number, slice):
            return [self[position] for position in range(len(self))[number]]
        return self._at(range(len(self))[number])
