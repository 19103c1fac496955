"""`blocklearn report`: one page on one run or several."""

import argparse
from pathlib import Path

from blocklearn.cli.loading import loading
from blocklearn.errors import UserError


def run_report(args: list[str]) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        prog="blocklearn report",
        description=(
            "One page, in one file that opens without a network, on one run or several: what was "
            "trained and how the configurations differ, every evaluation by block, curves, "
            "pictures, environment and cost. Runs that differ in their seed alone are shown as "
            "mean ± standard deviation."
        ),
        epilog="Example: blocklearn report blockwise=runs/one end-to-end=runs/two --out both.html",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="the folder of a run, or LABEL=FOLDER to say what to call it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="the page (default: report.html in the run's folder; for several, where you are)",
    )
    parser.add_argument("--title", default="Block by block", help="of the page")
    options = parser.parse_args(args)
    folders = _named(options.runs)
    single = len(folders) == 1
    out: Path = options.out or (next(iter(folders.values())) if single else Path()) / "report.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"report: --out {out}: the page is HTML, name a file that ends in .html")

    with loading():
        from blocklearn.report.page import write_report
        from blocklearn.report.runs import read_run, require_same_data

    runs = [read_run(name, path) for name, path in folders.items()]
    require_same_data(runs)
    print(f"Written: {write_report(runs, out, options.title)}")


def _named(arguments: list[str]) -> dict[str, Path]:
    runs: dict[str, Path] = {}
    for argument in arguments:
        label, separator, path = argument.partition("=")
        if not separator:
            label, path = Path(argument).resolve().name, argument
        if label in runs:
            raise UserError(
                f"report: two runs are called {label}; write LABEL=FOLDER to name them apart"
            )
        runs[label] = Path(path)
    return runs
