"""Pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blocklearn.evaluation.linear_probe import ProbeRow
from blocklearn.interop.files import replacing
from blocklearn.reporting.tables import NAMES

STYLES = {"raw": "-", "head": "--"}


def plot_accuracy(runs: Mapping[str, Sequence[ProbeRow]], title: str, path: Path) -> None:
    """Top-1 accuracy by stage, a colour a run and a line style a feature, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for color, (run, rows) in enumerate(runs.items()):
        for feature, style in STYLES.items():
            points = [(row.index, row.top1) for row in rows if row.feature == feature]
            if points:
                label = f"{run}, {NAMES[feature]}" if run else NAMES[feature]
                axes.plot(*zip(*points, strict=True), style, marker="o", color=f"C{color}", label=label)
    stages = {row.index: row.stage for rows in runs.values() for row in rows}
    axes.set_xticks(list(stages), list(stages.values()))
    axes.set(title=title, xlabel="stage", ylabel="linear probe, top-1 accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=150)
