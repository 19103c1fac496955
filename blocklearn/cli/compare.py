"""`blocklearn compare`: the probes of several runs in one table and one picture."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blocklearn.cli.compared_runs import find_results, labelled_paths
from blocklearn.cli.loading import loading
from blocklearn.errors import UserError
from blocklearn.runs.run_folder import RunFolder

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
            "untrained=runs/one/probe_untrained. With seeds: blocklearn compare "
            "noise=runs/a0,runs/a1 none=runs/b0,runs/b1"
        ),
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="LABEL=PATH",
        help=(
            "what to call a run, and where it lies: its folder, that of one evaluation in it, or "
            "a results.json. LABEL=PATH,PATH,..., a LABEL given several times, or a folder of "
            "runs: the seeds of one setting, shown as mean ± standard deviation (n - 1)"
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
    paths = labelled_paths(options.runs)
    if options.cka:
        with loading():
            from blocklearn.cli.compare_cka import compare_cka

        written = compare_cka(_one_each(paths), picture)
        print(f"Written: {', '.join(map(str, written))}")
        return
    files = {
        label: [find_results(path, options.evaluation) for path in own]
        for label, own in paths.items()
    }

    with loading():
        from blocklearn.reporting.comparison import (
            plot_comparison,
            print_comparison,
            write_comparison,
        )
        from blocklearn.reporting.results import read_results

    found = {label: [read_results(path) for path in own] for label, own in files.items()}
    _require_comparable(found)
    _require_seeds(files)
    print_comparison(found)
    _warn_of_other_settings(found)
    plot_comparison(found, picture)
    table = write_comparison(found, picture.with_suffix(".csv"))
    print(f"Written: {picture} and {table}")


def _one_each(paths: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """
    Raises:
        UserError: for a label with several runs.
    """
    for label, own in paths.items():
        if len(own) > 1:
            raise UserError(f"compare: --cka takes one run for {label}, not {len(own)}")
    return {label: own[0] for label, own in paths.items()}


def _require_seeds(files: Mapping[str, Sequence[Path]]) -> None:
    """
    Raises:
        UserError: for a label whose runs differ in more than the seed, where their folders say so.
    """
    from blocklearn.report.runs import differing, read_run

    for label, own in files.items():
        folders = [path.parent.parent for path in own]
        if len(own) < 2 or not all(RunFolder(folder).config.is_file() for folder in folders):
            continue
        found = differing([read_run(folder.name, folder) for folder in folders])
        if found:
            name, values = next(iter(found.items()))
            raise UserError(
                f"compare: the runs of {label} differ in more than the seed: {name} is "
                f"{' and '.join(map(str, dict.fromkeys(map(str, values))))}; give each setting a "
                "label of its own"
            )


def _require_comparable(found: "Mapping[str, Sequence[Results]]") -> None:
    """
    Raises:
        UserError: for different evaluations, data sets or targets, or results without a row.
    """
    (first, one), *others = _each(found)
    for label, results in ((first, one), *others):
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


def _warn_of_other_settings(found: "Mapping[str, Sequence[Results]]") -> None:
    (first, one), *others = _each(found)
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


def _each(found: "Mapping[str, Sequence[Results]]") -> "list[tuple[str, Results]]":
    return [(label, results) for label, own in found.items() for results in own]
