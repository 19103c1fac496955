"""What every benchmark yields: rows of figures, ours and the baseline's, taken in turns."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from blocklearn.machine import available_cores


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: of the row, e.g. `P5 time`.
        what: was measured, e.g. `Barlow Twins, forward and backward, B 256, D 8192`.
        baseline: what it is measured against; empty for a figure that stands alone.
        unit: of the figures, e.g. `s`, `MB`, `images/s`.
        ours: one figure a turn.
        theirs: the baseline's, turn by turn; empty where there is none.
        target: the ratio aimed at (the figure, where there is no baseline); null for a row that
            only informs.
        at_least: the target is a lower bound.
        notes: sizes and settings, for the JSON.
    """

    name: str
    what: str
    baseline: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    target: float | None = None
    at_least: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> list[float]:
        """What the target speaks of: ratios turn by turn, or our figures where there is no
        baseline."""
        if not self.theirs:
            return list(self.ours)
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return (
            median(self.figures) >= self.target
            if self.at_least
            else median(self.figures) <= self.target
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, PyTorch computes on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_turns(
    ways: dict[str, Callable[[], Any]], turns: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each way, the ways alternating, so that a machine that slows down slows all of
    them.

    Args:
        ways: what to time, by name.
        turns: timed calls of each.
        warm_up: call each once before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-int(warm_up), turns):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def run_rows(
    measure: Callable[[argparse.Namespace], list[Row]],
    about: str | None,
    quick: dict[str, Any] | None = None,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    handled: Callable[[argparse.Namespace], bool] = lambda settings: False,
) -> None:
    """The command line of one benchmark: measure, print, and save where asked.

    Args:
        measure: from the settings to rows.
        about: the module's docstring.
        quick: settings of a trial run, `--quick`.
        add_arguments: its own.
        handled: called first; what it has handled is not measured.
    """
    parser = make_parser(about, add_arguments)
    if "--quick" in sys.argv:
        parser.set_defaults(**{"turns": 1, **(quick or {})})
    settings = parser.parse_args()
    if handled(settings):
        return
    rows = measure(settings)
    print_rows(rows, (about or "").splitlines()[0])
    if settings.output:
        save_rows(rows, settings.output)


def make_parser(
    about: str | None, add_arguments: Callable[[argparse.ArgumentParser], None]
) -> argparse.ArgumentParser:
    """What every benchmark takes, and what one of them does."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: whether it runs, not how fast"
    )
    parser.add_argument("--output", type=Path, help="JSON file to write")
    add_arguments(parser)
    return parser


def print_rows(rows: Sequence[Row], title: str = "Benchmarks") -> None:
    """Medians, and the spread over the turns."""
    table = Table(title=title, title_justify="left")
    for name in ("row", "what", "baseline", "ours", "its", "ratio", "spread", "target"):
        table.add_column(
            name,
            justify="left" if name in ("row", "what", "baseline") else "right",
            overflow="fold",
        )
    for row in rows:
        figures, aim = row.figures, ""
        if row.target is not None:
            aim = (
                f"{'>=' if row.at_least else '<='} {short(row.target)} {'yes' if row.met else 'NO'}"
            )
        table.add_row(
            row.name,
            row.what,
            row.baseline or "-",
            f"{short(median(row.ours))} {row.unit}",
            short(median(row.theirs)) if row.theirs else "",
            short(median(figures)) if row.theirs else "",
            f"{short(min(figures))} to {short(max(figures))}",
            aim,
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def short(value: float) -> str:
    if value >= 1e5:
        return f"{value:.3g}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def save_rows(rows: Sequence[Row], path: Path) -> None:
    """JSON: the machine, and every figure."""
    about = {
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{**asdict(row), "figure": median(row.figures), "met": row.met} for row in rows]
    path.write_text(json.dumps({"about": about, "rows": listed}, indent=2, default=str) + "\n")


def load_rows(path: Path) -> list[Row]:
    listed = json.loads(path.read_text())["rows"]
    return [Row(**{name: row[name] for name in Row.__dataclass_fields__}) for row in listed]
