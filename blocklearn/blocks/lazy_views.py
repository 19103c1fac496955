"""The features of a batch's views, each made when the objective asks for it."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from blocklearn.training.by_position import ByPosition


class ViewFeatures(NamedTuple):
    """What a block makes of one view.

    Attributes:
        features: for the objective, with graph.
        hand_over: for the next block, detached.
    """

    features: Tensor
    hand_over: Tensor


class LazyViews(ByPosition):
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

    def _at(self, position: int) -> Tensor:
        return self._look(position).features

    def hand_over(self) -> list[Tensor]:
        """Of all views, also those that the objective did not ask for."""
        return [self._look(number).hand_over for number in range(len(self))]

    def _look(self, number: int) -> ViewFeatures:
        made = self._made[number]
        if made is None:
            made = self._made[number] = self._make(number)
        return made
