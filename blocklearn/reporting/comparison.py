"""Runs, or settings with several seeds each, side by side: a table, a picture and a CSV file."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from blocklearn.reporting.comparison_plot import plot_comparison
from blocklearn.reporting.results import Results
from blocklearn.reporting.seeds import (
    Figures,
    Place,
    Spread,
    figures_of,
    first_of,
    kinds_of,
    over_seeds,
    over_what,
    place,
)
from blocklearn.reporting.tables import feature_name, shown_spread, value_name
from blocklearn.reporting.wide_table import print_wide
from blocklearn.weights.atomic_write import replacing

__all__ = ["plot_comparison", "print_comparison", "write_comparison"]


def print_comparison(runs: Mapping[str, Sequence[Results]]) -> None:
    """One value: a line per run and a column per stage, in a table per kind of feature. Several
    results of a run, those of its seeds, are shown as mean ± standard deviation (n - 1). A star
    marks the best of several runs at a stage. No number is ever cut: where the stages do not fit
    beside each other they have the lines and the runs the columns, or there are several tables.

    Args:
        runs: results by label; a run may have none yet, but not all.

    Raises:
        UserError: where no run has any.
    """
    first, found = first_of(runs), figures_of(runs)
    Console().print(f"\n{_title(first, runs)}", highlight=False, markup=False)
    for feature, data in kinds_of(runs):
        heading = " ".join(word for word in (feature_name(feature), data) if word)
        places = sorted({place for figures in found.values() for place in figures})
        _print_kind(heading, [p for p in places if p[2:] == (feature, data)], found, first)


def write_comparison(runs: Mapping[str, Sequence[Results]], path: Path) -> Path:
    """As CSV, whole or not at all: a line per run, result and row, with all values. Where a run has
    several results they are counted in the column `seed_number`, from 1 in the order in which they
    were given, and `VALUE_mean`, `VALUE_sd` (n - 1) and `VALUE_n` say the same on each of their
    lines; VALUE is the one that the table compares.

    Args:
        runs: results by label.
        path: of the file.

    Raises:
        UserError: where no run has any.
    """
    name = first_of(runs).compared
    several = any(len(results) > 1 for results in runs.values())
    lines = []
    for run, results in runs.items():
        spreads = over_seeds(results, name)
        for number, one in enumerate(results, 1):
            counted = {"seed_number": number} if several else {}
            for row in one.rows:
                told = _as_columns(name, spreads.get(place(row))) if several else {}
                lines.append({"run": run, **counted, **row.as_dict(), **told})
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
    return path


def _title(first: Results, runs: Mapping[str, Sequence[Results]]) -> str:
    unit = f" {first.unit}" if first.unit else ""
    mark = " (* best)" if len(runs) > 1 else ""
    return f"{first.full_title}, {value_name(first.compared)}{unit}{over_what(runs)}{mark}"


def _print_kind(heading: str, places: Sequence[Place], found: Figures, first: Results) -> None:
    """A run without any of these features has no line, where others have."""
    runs = [
        run for run, figures in found.items() if not figures or any(p in figures for p in places)
    ]
    columns = [_column([found[run].get(where) for run in runs], first) for where in places]
    lines = [(run, *cells) for run, *cells in zip(runs, *columns, strict=True)]
    if places:
        print_wide((heading, *(f"{p.index} {p.stage}" for p in places)), lines, may_turn=True)


def _column(spreads: Sequence[Spread | None], first: Results) -> list[str]:
    """As text, the best marked; those that look the same are all the best."""
    told = [_told(spread, first.unit) for spread in spreads]
    there = [spread.mean for spread in spreads if spread]
    means = [spread.mean if spread else None for spread in spreads]
    pick = max if first.higher_is_better else min
    best = told[means.index(pick(there))][0] if len(there) > 1 else None
    widest = max(len(sd) for _, sd in told)
    return [_cell(mean, sd, best, widest) for mean, sd in told]


def _cell(mean: str, sd: str, best: str | None, width: int) -> str:
    marked = f"*{mean}" if mean == best else mean
    return f"{marked} ± {sd:>{width}}" if sd else marked


def _told(spread: Spread | None, unit: str) -> tuple[str, str]:
    """Mean and standard deviation; the latter empty where there is none."""
    return ("-", "") if spread is None else shown_spread(spread.mean, spread.sd, unit)


def _as_columns(name: str, spread: Spread | None) -> dict[str, float | int | str]:
    if spread is None:
        return {}
    sd = "" if spread.sd is None else spread.sd
    return {f"{name}_mean": spread.mean, f"{name}_sd": sd, f"{name}_n": spread.n}
