"""Which consecutive blocks go to which rank, so that the slowest rank is as fast as can be."""

from collections.abc import Collection, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import inf, lcm

from blocklearn.errors import UserError


def best_grouping(
    costs: Sequence[float], ranks: int, together: Collection[int] = ()
) -> list[range]:
    """Consecutive blocks for each rank: those whose largest sum of costs is smallest. Of several
    such groupings the one with the smallest sum of squares, and of several of these the one that
    ends its first group earliest, then its second, and so on. The same costs always give the same
    grouping: sums are exact.

    Args:
        costs: of every block, finite and not negative, in any unit.
        ranks: how many groups, none of them empty.
        together: indices of blocks that go where the block before them goes: the two share a stage.

    Returns:
        The indices of each rank's blocks, in order.

    Raises:
        UserError: where there are fewer groups than ranks.
    """
    # blocks that go together are one unit; unit u has the blocks from starts[u] to starts[u + 1]
    starts = [index for index in range(len(costs)) if index not in together]
    if not 1 <= ranks <= len(starts):
        raise UserError(_too_few(len(costs), len(starts), ranks))
    starts.append(len(costs))
    before = [0, *accumulate(_whole_numbers(costs))]
    sums = [before[start] for start in starts]  # of all units in front of each
    ends = _ends_of_fewest_squares(sums, ranks, _smallest_largest(sums, ranks))
    return [range(starts[first], starts[last]) for first, last in pairwise([0, *ends])]


def _whole_numbers(costs: Sequence[float]) -> list[int]:
    """In the same proportions, so that sums are exact and equal ones are seen to be equal."""
    exact = [Fraction(cost) for cost in costs]
    scale = lcm(*(cost.denominator for cost in exact))
    return [int(cost * scale) for cost in exact]


def _smallest_largest(sums: Sequence[int], ranks: int) -> int:
    """The largest group of the best grouping. `best[first]` is that of the units from `first` on,
    for as many groups as have been gone through."""
    count = len(sums) - 1
    best: list[float] = [inf] * count + [0]
    for _ in range(ranks):
        best = [
            min(
                (max(sums[end] - sums[first], best[end]) for end in range(first + 1, count + 1)),
                default=inf,
            )
            for first in range(count + 1)
        ]
    return int(best[0])


def _ends_of_fewest_squares(sums: Sequence[int], ranks: int, largest: int) -> list[int]:
    """Where each group ends, of the groupings with no group above `largest`."""
    count = len(sums) - 1
    squares: list[float] = [inf] * count + [0]
    choices: list[list[int]] = []  # by number of groups left: the end of the first, by its start
    for _ in range(ranks):
        found = [
            min(
                (
                    ((sums[end] - sums[first]) ** 2 + squares[end], end)
                    for end in range(first + 1, count + 1)
                    if sums[end] - sums[first] <= largest
                ),
                default=(inf, count),
            )
            for first in range(count + 1)
        ]
        squares = [value for value, _ in found]
        choices.append([end for _, end in found])
    ends = [0]
    for choice in reversed(choices):
        ends.append(choice[ends[-1]])
    return ends[1:]


def _too_few(blocks: int, groups: int, ranks: int) -> str:
    there = f"{blocks} block{'' if blocks == 1 else 's'}"
    if ranks < 1:
        return f"{there} cannot go to {ranks} ranks: take at least 1"
    shared = "" if groups == blocks else f", {blocks - groups} of which share a stage with another"
    most = f"{groups} rank{'' if groups == 1 else 's'}"
    return f"{ranks} ranks are too many for {there}{shared}: at most {most} can have one"
