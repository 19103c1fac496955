"""A few samples of many."""


def evenly_spaced(length: int, count: int | None) -> list[int]:
    """So many of the numbers below `length`, evenly spaced, so that a set in the order of its
    classes keeps all of them; all numbers where there are fewer, and for null."""
    few = length if count is None else min(length, count)
    return [place * length // few for place in range(few)]
