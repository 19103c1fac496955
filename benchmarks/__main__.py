"""`make bench`: every benchmark, in turn, each in a process of its own; a table, JSON and a
picture."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.rows import Row, load_rows, print_rows, save_rows

ALL = ("step", "input", "trainer", "barlow", "lars", "probing", "streaming", "video", "startup")


def plot_rows(rows: Sequence[Row], path: Path) -> None:
    """The rows that have a target: how far each figure is from it, with the spread over the
    turns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    aimed = [row for row in rows if row.target][::-1]
    figure = Figure(figsize=(9, 0.36 * len(aimed) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for position, row in enumerate(aimed):
        assert row.target
        shares = [figure / row.target for figure in row.figures]
        middle = median(shares)
        ends = [[middle - min(shares)], [max(shares) - middle]]
        axes.barh(
            position, middle, color="C0" if row.met else "C3", xerr=ends, ecolor="0.35", height=0.6
        )
        axes.annotate(
            f"{'>=' if row.at_least else '<='} {row.target:.3g}",
            (max(*shares, 1), position),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="0.35",
        )
    axes.axvline(1, color="0.2", linewidth=1)
    axes.set_yticks(
        range(len(aimed)), [f"{row.name}: {row.what}"[:64] for row in aimed], fontsize=8
    )
    axes.set(xlabel="figure over its target; blue: met", title="Benchmarks")
    axes.margins(x=0.12)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: whether it runs, not how fast"
    )
    parser.add_argument(
        "--turns", type=int, help="of every benchmark; by default each takes as many as it needs"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"))
    settings = parser.parse_args()
    settings.folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    failed: list[str] = []
    for number, name in enumerate(settings.only, 1):
        print(f"{number} of {len(settings.only)}: {name}", flush=True)
        output = settings.folder / f"{name}.json"
        turns = ["--turns", str(settings.turns)] if settings.turns else []
        command = [sys.executable, "-m", f"benchmarks.{name}", *turns, "--output", str(output)]
        if subprocess.run(command + ["--quick"] * settings.quick).returncode:
            failed.append(name)
        else:
            rows += load_rows(output)
    table, picture = settings.folder / "results.json", settings.folder / "results.png"
    print_rows(rows)
    save_rows(rows, table)
    plot_rows(rows, picture)
    print(f"Written: {table} and {picture}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
