"""Curves by block that stay apart where they coincide."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blocklearn.pictures.figure import COLORS, MARKERS, new_figure, save_figure

DASHES = ("-", "--", "-.", ":")


class Curve(NamedTuple):
    """One line of a panel.

    Attributes:
        x: positions.
        y: values, as many.
    """

    x: Sequence[float]
    y: Sequence[float]


def look(number: int, points: int) -> dict[str, Any]:
    """Color, dashes and markers of curve `number`. Markers are few and begin at another point for
    each curve, so that two that coincide are both seen; dashes and markers alone tell them apart in
    grey."""
    step = max(points // 8, 1)
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markevery": (number * max(step // 3, 1) % step, step),
        "markersize": 5,
        "linewidth": 1.6,
    }


def label_ends(axes: Any, labels: Sequence[str]) -> None:
    """Write each line's label at its end, moved apart where they would lie on each other.

    Args:
        axes: with as many lines as there are labels, and its final limits.
        labels: in the order of the lines.
    """
    ends = []
    for line, label in zip(axes.get_lines(), labels, strict=True):
        y = float(line.get_ydata()[-1])
        place = axes.transAxes.inverted().transform(axes.transData.transform((0, y)))[1]
        ends.append((place, label, line.get_color()))
    gap = 0.075
    ends.sort()
    places = [end[0] for end in ends]
    for number in range(1, len(places)):
        places[number] = max(places[number], places[number - 1] + gap)
    if places and places[-1] > 1:  # pushed out at the top: back down, the lowest as far as needed
        places[-1] = 1.0
        for number in range(len(places) - 2, -1, -1):
            places[number] = min(places[number], places[number + 1] - gap)
    for place, (_, label, color) in zip(places, ends, strict=True):
        axes.annotate(
            label,
            (1.02, place),
            xycoords="axes fraction",
            color=color,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def draw_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    path: Path,
    title: str,
    xlabel: str,
    ylabel: str,
) -> Path:
    """One panel a run side by side, one curve a block in each, with the same scales.

    Args:
        panels: curves by label, by run; a single panel needs no name.
        path: of the PNG.
        title: of the picture.
        xlabel: of all panels.
        ylabel: of the first.
    """
    figure = new_figure(max(6.4, 4.6 * len(panels)), 3.8)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    values = [y for panel in panels.values() for curve in panel.values() for y in curve.y]
    wide = bool(values) and min(values) > 0 and max(values) > 30 * min(values)
    for axes, (name, panel) in zip(grid, panels.items(), strict=True):
        for number, curve in enumerate(panel.values()):
            axes.plot(curve.x, curve.y, **look(number, len(curve.x)))
        axes.set(title=name, xlabel=xlabel, yscale="log" if wide else "linear")
        axes.grid(alpha=0.3)
    grid[0].set_ylabel(ylabel)
    figure.suptitle(title)
    for axes, panel in zip(grid, panels.values(), strict=True):
        label_ends(axes, list(panel))
    return save_figure(figure, path, title, _text(panels, ylabel))


def _text(panels: Mapping[str, Mapping[str, Curve]], what: str) -> str:
    told = []
    for name, panel in panels.items():
        ends = ", ".join(
            f"{label} from {curve.y[0]:.3g} to {curve.y[-1]:.3g}" for label, curve in panel.items()
        )
        told.append(f"{name}: {ends}" if name else ends)
    return f"{what} over time; {'; '.join(told)}."
