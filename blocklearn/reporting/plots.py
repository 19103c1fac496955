"""Pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blocklearn.evaluation.linear_probe import ProbeRow
from blocklearn.interop.files import replacing
from blocklearn.reporting.tables import NAMES

STYLES: dict[str, dict[str, Any]] = {
    "raw": {"linestyle": "-", "marker": "o"},
    "head": {"linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    "finetuned": {"linestyle": ":", "marker": "^"},
}


def plot_accuracy(runs: Mapping[str, Sequence[ProbeRow]], title: str, path: Path) -> None:
    """Top-1 accuracy by stage, a colour a run and a line style a feature, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for color, (run, rows) in enumerate(runs.items()):
        for feature, style in STYLES.items():
            points = [(row.index, row.top1) for row in rows if row.feature == feature]
            if points:
                label = f"{run}, {NAMES[feature]}" if run else NAMES[feature]
                axes.plot(*zip(*points, strict=True), color=f"C{color}", label=label, **style)
    stages = {row.index: row.stage for rows in runs.values() for row in rows}
    axes.set_xticks(list(stages), list(stages.values()))
    axes.set(title=title, xlabel="stage", ylabel="top-1 accuracy (%)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=150)
