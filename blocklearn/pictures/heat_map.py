"""A matrix of numbers as a heat map."""

import math
from collections.abc import Sequence
from pathlib import Path

from blocklearn.pictures.figure import new_figure, save_figure

MOST_WRITTEN = 24  # rows or columns up to which numbers are legible in the cells


def draw_heat_map(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
    title: str,
    text: str,
    axes_names: tuple[str, str] = ("", ""),
    limits: tuple[float, float] = (0.0, 1.0),
) -> Path:
    """Cells from dark (low) to light (high), with their numbers written in them, as PNG; readable
    in grey and to the color-blind.

    Args:
        values: one sequence per row; NaN is left white with a dash.
        rows: what each row is called.
        columns: what each column is called.
        path: of the file.
        title: of the picture.
        text: what is to be seen, for those who do not see it.
        axes_names: of the rows together and of the columns.
        limits: values of the darkest and the lightest cell.
    """
    side = min(max(0.55 * max(len(rows), len(columns)) + 2.2, 4.2), 16)
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    low, high = limits
    image = axes.imshow(values, cmap="cividis", vmin=low, vmax=high)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(title=title, ylabel=axes_names[0], xlabel=axes_names[1])
    if max(len(rows), len(columns)) <= MOST_WRITTEN:
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                light = math.isnan(value) or value > (low + high) / 2
                shown = "-" if math.isnan(value) else f"{value:.2f}"
                color = "black" if light else "white"
                axes.text(x, y, shown, ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return save_figure(figure, path, title, text)
