"""Curves of what a run has logged, by block."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from blocklearn.pictures.curves import Curve, draw_curves
from blocklearn.reporting.metrics_csv import FILE, whole_rows
from blocklearn.reporting.plain_files import read_plain

OF_A_BLOCK = re.compile(r"(block\d+)/(.+)")
STEP = re.compile(r"(.*_)?step\d+")  # one step ahead of a prediction: too many for a picture
LEFT_OUT = ("lr", "skipped")
NAMES = {
    "loss": "loss",
    "val_loss": "loss on held-out samples",
    "on_diag": "on-diagonal (the views differ)",
    "off_diag": "off-diagonal (dimensions are redundant)",
    "knn": "k-NN accuracy in %",
    "probe": "probe accuracy in %",
    "rankme": "RankMe",
}


def read_curves(path: Path) -> dict[str, dict[str, Curve]]:
    """Curves by block, by what was logged.

    Args:
        path: of `metrics.csv`; a file that is not there has none, and what a crash cut is left out.
    """
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for row in whole_rows(read_plain(path) or b"")[1]:
        for key, value in row.items():
            if value and (name := OF_A_BLOCK.fullmatch(key)):
                x, y = found.setdefault(name[2], {}).setdefault(name[1], ([], []))
                x.append(float(row["step"]) + 1)
                y.append(float(value))
    return {
        what: {block: Curve(*found[what][block]) for block in sorted(found[what], key=_number)}
        for what in found
        if what not in LEFT_OUT and not STEP.fullmatch(what)
    }


def draw_run_curves(runs: Mapping[str, Path], folder: Path) -> list[Path]:
    """A picture for each metric that has at least two values: a panel a run, a curve a block.

    Args:
        runs: their folders, by name; a single one needs none.
        folder: for the pictures `curve_METRIC.png`.
    """
    read = {run: read_curves(path / FILE) for run, path in runs.items()}
    metrics = dict.fromkeys(what for found in read.values() for what in found)
    drawn = []
    for what in [
        *(name for name in NAMES if name in metrics),
        *(m for m in metrics if m not in NAMES),
    ]:
        panels = {run: _drawable(found.get(what, {})) for run, found in read.items()}
        panels = {run: panel for run, panel in panels.items() if panel}
        if panels:
            name = NAMES.get(what, what)
            file = folder / f"curve_{what.replace('/', '_')}.png"
            drawn.append(draw_curves(panels, file, f"{name} by block", "batches", name))
    return drawn


def _drawable(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    finite = {}
    for block, curve in curves.items():
        points = [(x, y) for x, y in zip(*curve, strict=True) if math.isfinite(y)]
        if len(points) > 1:
            finite[block] = Curve(*zip(*points, strict=True))
    return finite


def _number(block: str) -> int:
    return int(block.removeprefix("block"))
