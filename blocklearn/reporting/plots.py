"""Pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blocklearn.evaluation.linear_probe import ProbeRow
from blocklearn.reporting.tables import feature_name, feature_order
from blocklearn.weights.atomic_write import replacing

STYLES: dict[str, dict[str, Any]] = {
    "raw": {"linestyle": "-", "marker": "o"},
    "head": {"linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    "context": {"linestyle": "-.", "marker": "D", "markersize": 8, "markerfacecolor": "none"},
    "finetuned": {"linestyle": ":", "marker": "^"},
}
OTHER_STYLE: dict[str, Any] = {"linestyle": ":", "marker": "v"}


def plot_accuracy(runs: Mapping[str, Sequence[ProbeRow]], title: str, path: Path) -> None:
    """Top-1 accuracy by stage, a colour a run and a line style a feature, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for color, (run, rows) in enumerate(runs.items()):
        for feature in feature_order(rows):
            points = sorted((row.index, row.top1) for row in rows if row.feature == feature)
            label = f"{run}, {feature_name(feature)}" if run else feature_name(feature)
            style = STYLES.get(feature, OTHER_STYLE)
            axes.plot(*zip(*points, strict=True), color=f"C{color}", label=label, **style)
    stages: dict[int, list[str]] = {}
    for row in sorted((row for rows in runs.values() for row in rows), key=lambda row: row.index):
        names = stages.setdefault(row.index, [])
        if row.stage not in names:
            names.append(row.stage)
    axes.set_xticks(list(stages), [" / ".join(names) for names in stages.values()])
    axes.set(title=title, xlabel="stage", ylabel="top-1 accuracy (%)")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=150)
