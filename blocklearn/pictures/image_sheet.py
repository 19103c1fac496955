"""Images, or stretches of sound, in rows and columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blocklearn.pictures.figure import COLORS, new_figure, save_figure


def draw_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    path: Path,
    title: str,
    text: str,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    marked: Sequence[Sequence[bool]] = (),
) -> Path:
    """A sheet of samples.

    Args:
        rows: of images `(H, W, 3)` in [0, 1], or sound `(L,)`; None leaves a place empty.
        path: of the PNG.
        title: of the picture.
        text: what is to be seen.
        row_names: on the left, one a row.
        column_names: on top, one a column.
        marked: places with a frame around them.
    """
    width = max(map(len, rows))
    figure = new_figure(max(0.85 * width + 1.2, 5.0), max(0.9 * len(rows) + 0.7, 1.8))
    grid = figure.subplots(len(rows), width, squeeze=False)
    for number, line in enumerate(rows):
        for column, axes in enumerate(grid[number]):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if column < len(line) and line[column] is not None:
                _show(axes, np.asarray(line[column]))
            if marked and column < len(marked[number]) and marked[number][column]:
                axes.spines[:].set(visible=True, color=COLORS[3], linewidth=2.5)
    for axes, name in zip(grid[:, 0], row_names, strict=False):
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for axes, name in zip(grid[0], column_names, strict=False):
        axes.set_title(name, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return save_figure(figure, path, title, text)


def _show(axes: object, sample: np.ndarray) -> None:
    if sample.ndim == 1:
        axes.plot(sample, color=COLORS[0], linewidth=0.4)  # pyright: ignore
    else:
        axes.imshow(sample.clip(0, 1), interpolation="nearest")  # pyright: ignore
