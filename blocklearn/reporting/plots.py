"""Pictures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blocklearn.evaluation.evaluation import Row
from blocklearn.reporting.results import Results
from blocklearn.reporting.tables import feature_name, feature_order, value_name
from blocklearn.weights.atomic_write import replacing

STYLES: dict[str, dict[str, Any]] = {
    "raw": {"linestyle": "-", "marker": "o"},
    "head": {"linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    "context": {"linestyle": "-.", "marker": "D", "markersize": 8, "markerfacecolor": "none"},
    "finetuned": {"linestyle": ":", "marker": "^"},
}
OTHER_STYLE: dict[str, Any] = {"linestyle": ":", "marker": "v"}


def plot_results(runs: Mapping[str, Results], path: Path) -> None:
    """The value that is compared, by stage: a color per run and a line style per feature, as
    PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    first = next(iter(runs.values()))
    name = first.compared
    for color, (run, results) in enumerate(runs.items()):
        shown = [row for row in results.rows if name in row.values]
        for feature in feature_order(shown):
            points = sorted(
                (row.index, row.values[name]) for row in shown if row.feature == feature
            )
            label = f"{run}, {feature_name(feature)}" if run else feature_name(feature)
            style = STYLES.get(feature, OTHER_STYLE)
            axes.plot(*zip(*points, strict=True), color=f"C{color}", label=label, **style)
    stages: dict[int, list[str]] = {}
    for row in sorted(_rows(runs), key=lambda row: row.index):
        names = stages.setdefault(row.index, [])
        if row.stage not in names:
            names.append(row.stage)
    axes.set_xticks(list(stages), [" / ".join(names) for names in stages.values()])
    unit = f" {first.unit}" if first.unit else ""
    axes.set(title=first.full_title, xlabel="stage", ylabel=f"{value_name(name)}{unit}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=150)


def _rows(runs: Mapping[str, Results]) -> Iterator[Row]:
    for results in runs.values():
        yield from results.rows
