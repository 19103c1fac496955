"""Which settings of a sweep are tried, and in which order."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from random import Random
from typing import Any

from blocklearn.ablation.sweep_file import Sweep
from blocklearn.errors import UserError

Settings = Mapping[str, Any]
TRIES = 1000  # draws until one is new


class Search(ABC):
    """Gives settings one after another.

    Attributes:
        count: how many there are in all.
    """

    count: int

    @abstractmethod
    def ask(self) -> Settings | None:
        """The next settings; None where there are no more."""

    @abstractmethod
    def examples(self) -> Sequence[Settings]:
        """Settings that the command line has to take before the first run: all of them, where they
        are known."""

    def tell(self, settings: Settings, value: float | None) -> None:
        """What the metric was; None where the run failed."""


class ListedSearch(Search):
    """Settings that are all known before the first run.

    Args:
        listed: in their order.
    """

    def __init__(self, listed: Sequence[Settings]) -> None:
        self.listed, self.count = listed, len(listed)
        self._left = iter(listed)

    def ask(self) -> Settings | None:
        return next(self._left, None)

    def examples(self) -> Sequence[Settings]:
        return self.listed


def grid(sweep: Sweep, count: int | None) -> ListedSearch:
    """Every combination, the last parameter changing fastest; at most `count`.

    Raises:
        UserError: for a parameter whose values cannot be listed.
    """
    choices: list[tuple[Any, ...]] = []
    for parameter in sweep.parameters:
        listed = parameter.choices()
        if listed is None:
            raise UserError(
                f"{sweep.path.name}: parameters: {parameter.name}: a grid needs values, "
                f"{parameter.distribution} has no end of them; list them, or write method: random"
            )
        choices.append(tuple(dict.fromkeys(listed)) if _hashable(listed) else listed)
    names = [parameter.name for parameter in sweep.parameters]
    every = [dict(zip(names, values, strict=True)) for values in product(*choices)]
    return ListedSearch(every[:count])


def random_search(sweep: Sweep, count: int, seed: int) -> ListedSearch:
    """Settings drawn at random, no two alike: the same ones for the same seed, and the first of
    them for a smaller `count`. Fewer where there are not so many."""
    return ListedSearch(list(_drawn(sweep, count, Random(seed))))


def _drawn(sweep: Sweep, count: int, random: Random) -> Iterator[Settings]:
    seen: set[str] = set()
    for _ in range(count):
        for _ in range(TRIES):
            settings = {one.name: one.draw(random) for one in sweep.parameters}
            if repr(settings) not in seen:
                seen.add(repr(settings))
                yield settings
                break


def _hashable(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (str, int, float, type(None))) for value in values)


def require_count(sweep: Sweep, count: int | None) -> int:
    """How many settings are tried: as the command says, or the file.

    Raises:
        UserError: where neither does.
    """
    found = count or sweep.run_cap
    if not found:
        raise UserError(
            f"{sweep.path.name}: method {sweep.method} goes on without an end: say how many "
            "settings with --count N, or run_cap: N in the file"
        )
    return found
