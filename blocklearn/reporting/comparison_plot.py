"""The picture of a comparison."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from blocklearn.pictures.curves import DASHES
from blocklearn.pictures.figure import COLORS, MARKERS, new_figure, save_figure
from blocklearn.reporting.results import Results
from blocklearn.reporting.seeds import (
    Figures,
    Place,
    Spread,
    figures_of,
    first_of,
    kinds_of,
    over_what,
)
from blocklearn.reporting.tables import feature_name, value_name, with_spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

APART = 3.5  # points between runs, so that those that coincide are all seen
CHARACTER, LINE = 0.085, 0.21  # inches in the legend
LONGEST_LABEL = 34  # characters in a line of the legend
MOST_LEVEL_NAMES = 6  # of stages; more are written upwards


def plot_comparison(runs: Mapping[str, Sequence[Results]], path: Path) -> Path:
    """The value that is compared, by stage, as PNG: a panel per kind of feature, a line per run and
    a bar of one standard deviation (n - 1) up and down over its seeds. Color, dashes and marker say
    which run it is, each run's points a little beside those of the one before.

    Args:
        runs: results by label; those of one label are its seeds.
        path: of the file.

    Raises:
        UserError: where no run has any.
    """
    found, kinds, first = figures_of(runs), kinds_of(runs), first_of(runs)
    labels = [fill(run, LONGEST_LABEL, subsequent_indent="  ") for run in runs]
    figure = _sized_figure(
        labels, len(kinds), len({place.index for place in chain(*found.values())})
    )
    grid = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (feature, data) in zip(grid, kinds, strict=True):
        _draw_kind(axes, found, feature, data)
        axes.set(title=" ".join((feature_name(feature), data)).strip(), xlabel="stage")
    unit = f" {first.unit}" if first.unit else ""
    grid[0].set_ylabel(f"{value_name(first.compared)}{unit}")
    title = f"{first.full_title}{over_what(runs)}"
    figure.suptitle(title, x=0.01, ha="left")
    figure.legend(
        handles=[_sample(number, label) for number, label in enumerate(labels)],
        loc="outside right upper",
        frameon=False,
    )
    return save_figure(figure, path, title, _text(found, value_name(first.compared) + unit))


def _sized_figure(labels: Sequence[str], panels: int, stages: int) -> "Figure":
    lines = [line for label in labels for line in label.split("\n")]
    panel = max(3.6, 0.5 * stages)
    width = 1.6 + CHARACTER * max(map(len, lines)) + panel * panels
    return new_figure(width, max(4.2, 0.6 + LINE * len(lines)))


def _draw_kind(axes: Any, found: Figures, feature: str, data: str) -> None:
    from matplotlib.transforms import ScaledTranslation

    names = _stage_names(found, feature, data)
    apart = min(APART, 0.7 * _points_between_stages(axes, len(names)) / len(found))
    for number, figures in enumerate(found.values()):
        places = sorted(place for place in figures if place[2:] == (feature, data))
        if not places:
            continue
        spreads = [figures[place] for place in places]
        line, _, bars = axes.errorbar(
            [place.index for place in places],
            [spread.mean for spread in spreads],
            yerr=_bars(spreads),
            capsize=2,
            elinewidth=1,
            **_look(number),
        )
        move = ScaledTranslation(apart * number / 72, 0, axes.figure.dpi_scale_trans)
        for artist in (line, *_, *bars):
            artist.set_transform(axes.transData + move)
    upwards = 90 if len(names) > MOST_LEVEL_NAMES else 0
    axes.set_xticks(list(names), list(names.values()), rotation=upwards)
    axes.set_xlim(min(names) - 0.3, max(names) + 0.3 + min(0.7, 0.08 * len(found)))
    axes.grid(alpha=0.3)


def _points_between_stages(axes: Any, stages: int) -> float:
    inches = axes.figure.get_size_inches()[0] / len(axes.figure.axes)
    return 72 * 0.7 * inches / max(1, stages)


def _bars(spreads: Sequence[Spread]) -> list[float] | None:
    if all(spread.sd is None for spread in spreads):
        return None
    return [spread.sd or 0.0 for spread in spreads]


def _look(number: int) -> dict[str, Any]:
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": DASHES[number // len(COLORS) % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.4,
    }


def _sample(number: int, run: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=run, **_look(number))


def _stage_names(found: Figures, feature: str, data: str) -> dict[int, str]:
    names: dict[int, dict[str, None]] = {}
    for place in sorted({place for figures in found.values() for place in figures}):
        if place[2:] == (feature, data):
            names.setdefault(place.index, {})[place.stage] = None
    return {index: "\n".join(own) for index, own in names.items()}


def _text(found: Figures, what: str) -> str:
    told = [
        f"{run}: {', '.join(_point(*point) for point in figures.items())}"
        for run, figures in found.items()
        if figures
    ]
    return f"{what}, by stage. {'; '.join(told)}."


def _point(place: Place, spread: Spread) -> str:
    name = " ".join(word for word in (place.stage, feature_name(place.feature), place.data) if word)
    return f"{name} {with_spread(spread.mean, spread.sd, '')}"
