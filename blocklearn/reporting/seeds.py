"""Mean and standard deviation over several results of one setting: its seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean, stdev
from typing import NamedTuple

from blocklearn.errors import UserError
from blocklearn.evaluation.evaluation import Row
from blocklearn.reporting.results import Results
from blocklearn.reporting.tables import feature_order


class Place(NamedTuple):
    """Where in the network a row was measured.

    Attributes:
        index: position of the stage, from 1.
        stage: its name.
        feature: which of its features.
        data: the data set, where an evaluation is on several; empty otherwise.
    """

    index: int
    stage: str
    feature: str
    data: str


class Spread(NamedTuple):
    """One value over the seeds.

    Attributes:
        mean: of the values.
        sd: their standard deviation (n - 1); None for fewer than two.
        n: how many there are.
    """

    mean: float
    sd: float | None
    n: int


Figures = Mapping[str, Mapping[Place, Spread]]  # one value of every run


def place(row: Row) -> Place:
    """Rows of several seeds belong together where this is the same."""
    return Place(row.index, row.stage, row.feature, str(row.settings.get("data", "")))


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(mean(values), stdev(values) if len(values) > 1 else None, len(values))


def over_seeds(results: Iterable[Results], name: str) -> dict[Place, Spread]:
    """The value `name` by place, over all results that have it there."""
    found: dict[Place, list[float]] = {}
    for row in (row for one in results for row in one.rows):
        if name in row.values:
            found.setdefault(place(row), []).append(row.values[name])
    return {where: spread(values) for where, values in found.items()}


def over_stage_before(results: Iterable[Results], name: str) -> dict[Place, Spread]:
    """What each stage adds: its value minus that of the stage before it with the same kind of
    features, of every result, and then over the results."""
    found: dict[Place, list[float]] = {}
    for one in results:
        values = {place(row): row.values[name] for row in one.rows if name in row.values}
        order = sorted(values, key=lambda at: (at[2:], at.index))
        for before, at in pairwise(order):
            if before[2:] == at[2:]:
                found.setdefault(at, []).append(values[at] - values[before])
    return {where: spread(values) for where, values in found.items()}


def mean_results(results: Sequence[Results]) -> Results:
    """The first of them, with the mean over all in place of its values."""
    first = results[0]
    means = {name: over_seeds(results, name) for name in first.names}
    rows = [
        replace(row, values={name: means[name][place(row)].mean for name in row.values})
        for row in first.rows
    ]
    return replace(first, rows=rows)


def first_of(runs: Mapping[str, Sequence[Results]]) -> Results:
    """The results that say what all of them are called.

    Raises:
        UserError: where no run has any.
    """
    found = next((one for results in runs.values() for one in results), None)
    if found is None:
        raise UserError("comparison: no run has results; evaluate them with blocklearn test first")
    return found


def figures_of(runs: Mapping[str, Sequence[Results]]) -> Figures:
    """The value that is compared, over the seeds of every run."""
    name = first_of(runs).compared
    return {run: over_seeds(results, name) for run, results in runs.items()}


def kinds_of(runs: Mapping[str, Sequence[Results]]) -> list[tuple[str, str]]:
    """Which features of which data there are, in the order in which they are shown."""
    rows = [row for results in runs.values() for one in results for row in one.rows]
    data = dict.fromkeys(place(row).data for row in rows)
    there = {(place(row).feature, place(row).data) for row in rows}
    pairs = [(feature, name) for name in data for feature in feature_order(rows)]
    return [pair for pair in pairs if pair in there]


def over_what(runs: Mapping[str, Sequence[Results]]) -> str:
    """`, mean ± sd of 3 seeds`, or nothing where there is one result a run."""
    counts = sorted({len(results) for results in runs.values() if results})
    if counts[-1] < 2:
        return ""
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f", mean ± sd of {seeds} seeds"
