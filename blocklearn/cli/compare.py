"""`blocklearn compare`: the probes of several runs in one table and one picture."""

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from blocklearn.errors import UserError
from blocklearn.runs.run_folder import RESULTS, RunFolder

if TYPE_CHECKING:
    from blocklearn.reporting.results import Results


def run_compare(args: list[str]) -> None:
    """Print the table, write the picture, and all figures as CSV beside it."""
    parser = argparse.ArgumentParser(
        prog="blocklearn compare",
        description=(
            "The probes of several runs side by side: a table, a picture, and the figures as CSV."
        ),
        epilog=(
            "Example: blocklearn compare blockwise=runs/one end-to-end=runs/two "
            "untrained=runs/one/probe_untrained"
        ),
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="LABEL=PATH",
        help=(
            "what to call a run, and where it lies: its folder, that of one evaluation in it, or "
            "a results.json"
        ),
    )
    parser.add_argument(
        "--evaluation",
        metavar="NAME",
        help=(
            "folder of the evaluation within each run, e.g. probe_digit; needed where a run has "
            "several (a PATH that is such a folder itself is taken as it is)"
        ),
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("comparison.png"),
        metavar="FILE.png",
        help="the picture; the figures go to FILE.csv (default: %(default)s)",
    )
    parser.add_argument(
        "--cka",
        action="store_true",
        help="compare the stages' features instead, by linear CKA: blocklearn predict writes them",
    )
    options = parser.parse_args(args)
    picture: Path = options.out
    if picture.suffix.lower() != ".png":
        raise UserError(
            f"compare: --out {picture}: the picture is a PNG, name a file that ends in .png"
        )
    if options.cka:
        from blocklearn.cli.compare_cka import compare_cka

        written = compare_cka(_labelled(options.runs), picture)
        print(f"Written: {', '.join(map(str, written))}")
        return
    results = {
        label: _find_results(path, options.evaluation)
        for label, path in _labelled(options.runs).items()
    }

    from blocklearn.reporting.plots import plot_results
    from blocklearn.reporting.results import read_results
    from blocklearn.reporting.tables import print_comparison
    from blocklearn.weights.atomic_write import replacing

    found = {label: read_results(path) for label, path in results.items()}
    _require_comparable(found)
    print_comparison(found)
    _warn_of_other_settings(found)
    plot_results(found, picture)
    table = picture.with_suffix(".csv")
    with replacing(table) as unfinished, unfinished.open("w", newline="") as file:
        lines = [
            {"run": label, **row.as_dict()} for label, own in found.items() for row in own.rows
        ]
        writer = csv.DictWriter(file, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
    print(f"Written: {picture} and {table}")


def _labelled(arguments: list[str]) -> dict[str, Path]:
    runs: dict[str, Path] = {}
    for argument in arguments:
        label, _, path = argument.partition("=")
        if not label or not path:
            raise UserError(
                f"compare: {argument} does not say what to call the run: write "
                f"LABEL={path or argument}"
            )
        if label in runs:
            raise UserError(f"compare: two runs are called {label}; give each a label of its own")
        runs[label] = Path(path)
    return runs


def _find_results(path: Path, evaluation: str | None) -> Path:
    """The `results.json` that a file, the folder of an evaluation or a run's folder stands for."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"compare: there is no file or folder {path}")
    run = RunFolder(path)
    if evaluation is None and not run.probes() and (path / RESULTS).is_file():
        return path / RESULTS
    if evaluation is not None:
        named = run.evaluation(evaluation) / RESULTS
        if not named.is_file() and path.resolve().name == evaluation and (path / RESULTS).is_file():
            return path / RESULTS
        if not named.is_file():
            raise UserError(f"compare: there is no {named}; {_there(run)}")
        return named
    probes = run.probes()
    if len(probes) != 1:
        advice = "name one with --evaluation" if probes else "run blocklearn test first"
        raise UserError(f"compare: {path}: {_there(run)}; {advice}")
    return probes[0]


def _there(run: RunFolder) -> str:
    names = sorted(path.parent.name for path in run.path.glob(f"*/{RESULTS}"))
    return f"it has {', '.join(names)}" if names else "it has no results of an evaluation"


def _require_comparable(found: "Mapping[str, Results]") -> None:
    """
    Raises:
        UserError: for different evaluations, data sets or targets, or results without a row.
    """
    (first, one), *others = found.items()
    for label, results in found.items():
        if not results.rows:
            raise UserError(f"compare: the results of {label} have no row")
    for label, other in others:
        for what in ("dataset", "target", "num_classes", "compared"):
            ours, theirs = getattr(one, what), getattr(other, what)
            if ours != theirs:
                raise UserError(
                    f"compare: {what} is {ours} for {first} and {theirs} for {label}; nothing to "
                    "compare"
                )


def _warn_of_other_settings(found: "Mapping[str, Results]") -> None:
    (first, one), *others = found.items()
    for label, other in others:
        shared = one.settings.keys() & other.settings.keys()
        differing = [name for name in sorted(shared) if one.settings[name] != other.settings[name]]
        if differing:
            told = ", ".join(
                f"{name} {one.settings[name]} and {other.settings[name]}" for name in differing
            )
            print(
                f"Mind that {first} and {label} were evaluated differently: {told}.",
                file=sys.stderr,
            )
