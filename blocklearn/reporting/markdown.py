"""Everything that evaluations found of several runs, as tables in Markdown for papers and pages."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blocklearn.reporting.results import Results
from blocklearn.reporting.seeds import (
    Place,
    Spread,
    first_of,
    kinds_of,
    over_seeds,
    over_stage_before,
    over_what,
)
from blocklearn.reporting.tables import feature_name, value_name, with_spread
from blocklearn.weights.atomic_write import replacing


def write_markdown(evaluations: Mapping[str, Mapping[str, Sequence[Results]]], path: Path) -> Path:
    """A heading for every evaluation, and below it a table for every value and kind of feature: a
    line per run, a column per stage, mean ± standard deviation (n - 1) over several results of a
    run. Behind those of the value that is compared, what every stage adds to the one before it.

    Args:
        evaluations: for each, by what stands behind its heading, results by the label of the run.
        path: of the file, which is written whole or not at all.

    Raises:
        UserError: where no run has results of an evaluation.
    """
    text = "\n\n".join(part for how, runs in evaluations.items() for part in _parts(how, runs))
    with replacing(path) as unfinished:
        unfinished.write_text(f"{text}\n")
    return path


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One table; its first column has names, the others numbers."""
    marks = ["---", *("---:" for _ in header[1:])]
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, marks, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parts(how: str, runs: Mapping[str, Sequence[Results]]) -> Iterator[str]:
    first = first_of(runs)
    unit = f", {first.unit}" if first.unit else ""
    yield f"## {first.full_title}{unit}{over_what(runs)}{f': {how}' if how else ''}"
    names = dict.fromkeys([first.compared, *first.names])
    for name in names:
        found = {run: over_seeds(results, name) for run, results in runs.items() if results}
        for feature, data in kinds_of(runs):
            heading = " ".join(w for w in (value_name(name), feature_name(feature), data) if w)
            yield from _table(heading, (feature, data), found, first.unit)
            if name == first.compared:
                added = {run: over_stage_before(results, name) for run, results in runs.items()}
                heading = f"{heading}, minus the stage before"
                yield from _table(heading, (feature, data), added, first.unit)


def _table(
    heading: str,
    kind: tuple[str, str],
    found: Mapping[str, Mapping[Place, Spread]],
    unit: str,
) -> Iterator[str]:
    """One, or none where no run has this value of these features."""
    places = sorted({place for figures in found.values() for place in figures})
    places = [place for place in places if place[2:] == kind]
    if not places:
        return
    header = [heading, *(f"{place.index} {place.stage}" for place in places)]
    there = {run: f for run, f in found.items() if any(place in f for place in places)}
    rows = [[run, *(_cell(f.get(place), unit) for place in places)] for run, f in there.items()]
    yield as_markdown(header, rows)


def _cell(spread: Spread | None, unit: str) -> str:
    return "-" if spread is None else with_spread(spread.mean, spread.sd, unit)
