"""The features of a batch's views, each made when the objective asks for it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

from torch import Tensor


class ViewFeatures(NamedTuple):
    """What a block makes of one view.

    Attributes:
        features: for the objective, with graph.
        hand_over: for the next block, detached.
    """

    features: Tensor
    hand_over: Tensor


class LazyViews(Sequence[Tensor]):
    """Features, one map per view, made at the first look and kept.

    An objective that pools view by view so gets a graph in which a view's stages and pooling are
    neighbours. Backward then finishes with the last view before it begins with the one before, and
    never holds gradients of two views' maps.

    Args:
        make: from a view's number.
        count: of views.
    """

    def __init__(self, make: Callable[[int], ViewFeatures], count: int) -> None:
        self._make = make
        self._made: list[ViewFeatures | None] = [None] * count

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, number: int, /) -> Tensor: ...

    @overload
    def __getitem__(self, number: slice, /) -> list[Tensor]: ...

    def __getitem__(self, number: int | slice, /) -> Tensor | list[Tensor]:
        if isinstance(number, slice):
            return [self[position] for position in range(len(self))[number]]
        return self._look(range(len(self))[number]).features

    def hand_over(self) -> list[Tensor]:
        """Of all views, also those that the objective did not ask for."""
        return [self._look(number).hand_over for number in range(len(self))]

    def _look(self, number: int) -> ViewFeatures:
        made = self._made[number]
        if made is None:
            made = self._made[number] = self._make(number)
        return made
