"""A sheet of one image under corruptions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from blocklearn.pictures.figure import new_figure, save_figure


def draw_corruptions(
    clean: NDArray[Any],
    images: NDArray[Any],
    names: Sequence[str],
    severities: Sequence[int],
    path: Path,
) -> Path:
    """A row a corruption, a column a severity, the clean image in front of each row.

    Args:
        clean: `(H, W, 3)`, uint8.
        images: `(corruptions, severities, H, W, 3)`, uint8.
        names: of the corruptions.
        severities: of the columns.
        path: of the PNG.
    """
    columns = 1 + len(severities)
    figure = new_figure(1.6 + 1.0 * columns, 0.6 + 1.05 * len(names))
    grid = figure.subplots(len(names), columns, squeeze=False)
    headings = ["clean", *(f"severity {severity}" for severity in severities)]
    for row, name in enumerate(names):
        for column, image in enumerate([clean, *images[row]]):
            axes = grid[row, column]
            axes.imshow(image, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            for side in axes.spines.values():
                side.set_visible(False)
            if row == 0:
                axes.set_title(headings[column], fontsize=9)
        grid[row, 0].set_ylabel(
            name.replace("_", " "), rotation=0, horizontalalignment="right", va="center", fontsize=9
        )
    told = ", ".join(name.replace("_", " ") for name in names)
    text = (
        f"One test image, clean and under {len(names)} corruptions, at severities "
        f"{', '.join(map(str, severities))}: {told}."
    )
    return save_figure(figure, path, "Corruptions", text)
