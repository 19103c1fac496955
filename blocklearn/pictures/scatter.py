"""Maps of samples in two dimensions."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np

from blocklearn.pictures.figure import COLORS, MARKERS, new_figure, save_figure


def draw_maps(
    maps: Mapping[str, np.ndarray], label: np.ndarray, path: Path, title: str, names: Sequence[str]
) -> Path:
    """One panel a map; a color and a marker together say the class.

    Args:
        maps: `(N, 2)` places by panel.
        label: `(N,)` classes.
        path: of the PNG.
        title: of the picture.
        names: of the classes.
    """
    columns = min(len(maps), 4)
    lines = ceil(len(maps) / columns)
    figure = new_figure(3.0 * columns + 1, 3.0 * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False).flat
    classes = np.unique(label)
    for axes, (name, places) in zip(grid, maps.items(), strict=False):
        for number, chosen in enumerate(classes):
            own = places[label == chosen]
            axes.scatter(
                *own.T,
                s=9,
                linewidths=0.5,
                color=COLORS[number % len(COLORS)],
                # one marker more than colors, so that no pair comes twice in 56 classes
                marker=MARKERS[number % len(MARKERS)],
                label=names[int(chosen)] if number < 20 else None,
            )
        axes.set(title=name, xticks=[], yticks=[])
    for axes in list(grid):
        axes.set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7, frameon=False)
    figure.suptitle(title)
    text = (
        f"{len(label)} samples of {len(classes)} classes in two dimensions, one panel each for "
        f"{', '.join(maps)}."
    )
    return save_figure(figure, path, title, text)
