"""Which consecutive blocks go to which rank."""

import random
from collections.abc import Collection, Sequence
from itertools import combinations, pairwise

import pytest

from blocklearn.distributed.grouping import best_grouping
from blocklearn.errors import UserError


def by_trying_all(
    costs: Sequence[float], ranks: int, together: Collection[int] = ()
) -> list[range]:
    """The slow, obvious reference: every grouping, in the order of its borders."""
    count = len(costs)
    allowed = [index for index in range(1, count) if index not in together]
    groupings = [
        [range(first, last) for first, last in pairwise([0, *borders, count])]
        for borders in combinations(allowed, ranks - 1)
    ]

    def badness(grouping: list[range]) -> tuple[float, float]:
        sums = [sum(costs[index] for index in group) for group in grouping]
        return max(sums), sum(value**2 for value in sums)

    return min(groupings, key=badness)  # the first of several


@pytest.mark.parametrize("largest", [3, 10, 1000])  # few values make many ties
def test_the_grouping_is_the_best_of_all_that_there_are(largest: int):
    draw = random.Random(largest)
    for _ in range(300):
        count = draw.randint(1, 9)
        costs = [draw.randint(0, largest) for _ in range(count)]
        together = [index for index in range(1, count) if draw.random() < 0.25]
        ranks = draw.randint(1, count - len(together))
        expected = by_trying_all(costs, ranks, together)
        assert best_grouping(costs, ranks, together) == expected, (costs, ranks, together)


def test_costs_whose_floats_do_not_add_up_exactly_are_grouped_as_their_exact_sums_ask():
    # 0.1 + 0.2 > 0.3 in floats, and in the exact values of these floats too
    assert best_grouping([0.1, 0.2, 0.3, 0.3], 3) == [range(2), range(2, 3), range(3, 4)]
    tenths = [0.1] * 30  # sums from the left differ from sums from the right
    assert best_grouping(tenths, 3) == [range(10), range(10, 20), range(20, 30)]
    assert best_grouping([3e-9, 1e9, 1e-9, 3e-9], 3) == [range(1), range(1, 2), range(2, 4)]


def test_of_equally_slow_groupings_the_most_even_one_is_taken():
    # block 1 decides; the others are 4 + 4 rather than 6 + 2
    assert best_grouping([9, 2, 2, 2, 2], 3) == [range(1), range(1, 3), range(3, 5)]


def test_of_equally_even_groupings_the_one_whose_groups_end_first_is_taken():
    assert best_grouping([1, 1, 1], 2) == [range(1), range(1, 3)]
    assert best_grouping([0, 0, 0, 0], 3) == [range(1), range(1, 2), range(2, 4)]


def test_a_block_that_shares_a_stage_stays_with_the_block_before():
    assert best_grouping([5, 5, 1, 1], 2) == [range(1), range(1, 4)]
    assert best_grouping([5, 5, 1, 1], 2, together=[1]) == [range(2), range(2, 4)]


def test_every_rank_gets_a_block_even_one_that_costs_nothing():
    assert best_grouping([1, 0, 0], 3) == [range(1), range(1, 2), range(2, 3)]


def test_a_hundred_blocks_on_sixteen_ranks_are_grouped_exactly():
    groups = best_grouping([1.0] * 100, 16)
    assert [group.start for group in groups] == [0, *(group.stop for group in groups[:-1])]
    assert groups[-1].stop == 100
    assert {len(group) for group in groups} == {6, 7}


@pytest.mark.parametrize(
    ("together", "ranks", "told"),
    [
        ((), 5, "5 ranks are too many for 4 blocks: at most 4 ranks can have one"),
        (
            (1, 3),
            3,
            "3 ranks are too many for 4 blocks, 2 of which share a stage with another: at most 2 "
            "ranks can have one",
        ),
        ((), 0, "4 blocks cannot go to 0 ranks: take at least 1"),
    ],
)
def test_more_ranks_than_groups_are_refused_with_both_numbers(
    together: tuple[int, ...], ranks: int, told: str
):
    with pytest.raises(UserError) as refused:
        best_grouping([1, 2, 3, 4], ranks, together)
    assert str(refused.value) == told
