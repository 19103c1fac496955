"""Lines over the stages of a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blocklearn.pictures.curves import label_ends, look
from blocklearn.pictures.figure import new_figure, save_figure


def draw_lines_by_stage(
    panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]],
    stages: Mapping[int, str],
    path: Path,
    title: str,
    ylabel: str,
) -> Path:
    """One panel a kind of feature side by side, with the same scale; in each a line with its name
    at its end for every value that was measured.

    Args:
        panels: (position of the stage, value), by name, by kind of feature.
        stages: their names by position.
        path: of the PNG.
        title: of the picture.
        ylabel: of the first panel.
    """
    figure = new_figure(max(6.4, 5.4 * len(panels)), 4.2)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (feature, lines) in zip(grid, panels.items(), strict=True):
        for number, points in enumerate(lines.values()):
            axes.plot(*zip(*points, strict=True), **look(number, len(points)))
        axes.set_xticks(list(stages), list(stages.values()))
        axes.tick_params(axis="x", labelrotation=30)
        axes.set(title=feature if len(panels) > 1 else "", xlabel="stage")
        axes.grid(alpha=0.3)
    grid[0].set_ylabel(ylabel)
    figure.suptitle(title)
    for axes, lines in zip(grid, panels.values(), strict=True):
        label_ends(axes, list(lines))
    told = [
        f"{name} ({feature}) {', '.join(f'{value:.2f}' for _, value in points)}"
        for feature, lines in panels.items()
        for name, points in lines.items()
    ]
    return save_figure(figure, path, title, f"{ylabel} by stage: {'; '.join(told)}.")
