"""Pictures."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blocklearn.evaluation.evaluation import Row
from blocklearn.pictures.curves import label_ends
from blocklearn.pictures.figure import COLORS, MARKERS, new_figure, save_figure
from blocklearn.reporting.results import Results
from blocklearn.reporting.tables import feature_name, feature_order, value_name

STYLES: dict[str, dict[str, Any]] = {
    "raw": {"linestyle": "-"},
    "head": {"linestyle": "--", "markerfacecolor": "white"},
    "context": {"linestyle": "-.", "markersize": 9, "markerfacecolor": "none"},
    "finetuned": {"linestyle": ":"},
}
OTHER_STYLE: dict[str, Any] = {"linestyle": ":"}
MOST_DIRECT_LABELS = 8
APART = 3.5  # points between lines, so that those that coincide are all seen


def plot_results(runs: Mapping[str, Results], path: Path) -> None:
    """The value that is compared, by stage: a color and a marker per run, a line style per feature,
    as PNG. Each line is drawn a little beside the one before it."""
    from matplotlib.transforms import ScaledTranslation

    figure = new_figure()
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
            axes.plot(
                *zip(*points, strict=True),
                label=label,
                color=COLORS[color % len(COLORS)],
                marker=MARKERS[color % len(MARKERS)],
                **STYLES.get(feature, OTHER_STYLE),
            )
    axes.margins(x=0.08)
    axes.autoscale_view()
    for number, line in enumerate(axes.lines):
        beside = ScaledTranslation(APART * number / 72, 0, figure.dpi_scale_trans)
        line.set_transform(axes.transData + beside)
    axes.autoscale(False)
    stages: dict[int, list[str]] = {}
    for row in sorted(_rows(runs), key=lambda row: row.index):
        names = stages.setdefault(row.index, [])
        if row.stage not in names:
            names.append(row.stage)
    axes.set_xticks(list(stages), [" / ".join(names) for names in stages.values()])
    unit = f" {first.unit}" if first.unit else ""
    axes.set(title=first.full_title, xlabel="stage", ylabel=f"{value_name(name)}{unit}")
    axes.grid(alpha=0.3)
    labels = [str(line.get_label()) for line in axes.lines]
    if len(labels) <= MOST_DIRECT_LABELS:
        label_ends(axes, labels)
    else:
        figure.legend(loc="outside right upper", frameon=False)
    save_figure(figure, path, first.full_title, _text(runs, name, first.unit))


def _text(runs: Mapping[str, Results], name: str, unit: str) -> str:
    told = []
    for run, results in runs.items():
        found = [row for row in results.rows if name in row.values]
        values = ", ".join(
            f"{row.stage} {feature_name(row.feature)} {row.values[name]:.4g}" for row in found
        )
        told.append(f"{run}: {values}" if run else values)
    return f"{value_name(name)}, {unit}, by stage. {'; '.join(told)}."


def _rows(runs: Mapping[str, Results]) -> Iterator[Row]:
    for results in runs.values():
        yield from results.rows
