"""Errors by corruption."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blocklearn.pictures.figure import COLORS, MARKERS, new_figure, save_figure

STYLES = ("-", "--", ":", "-.")


def draw_errors(
    names: Sequence[str], lines: Mapping[tuple[str, str], Sequence[float]], path: Path
) -> Path:
    """A column a corruption, a color a stage, a marker a feature of it.

    Args:
        names: of the columns, `clean` first.
        lines: errors in %, one a column, by stage and feature.
        path: of the PNG.
    """
    figure = new_figure(max(8.4, 2.6 + 0.45 * len(names)), 4.8)
    axes = figure.add_subplot()
    stages, features = (list(dict.fromkeys(places)) for places in zip(*lines, strict=True))
    for (stage, feature), errors in lines.items():
        color, kind = COLORS[stages.index(stage) % len(COLORS)], features.index(feature)
        marker, style = MARKERS[kind % len(MARKERS)], STYLES[kind % len(STYLES)]
        axes.plot(
            range(len(names)),
            errors,
            color=color,
            marker=marker,
            linestyle=style,
            linewidth=0.8,
            label=f"{stage}, {feature}",
        )
    shown = [name.replace("_", " ") for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(title="Errors under corruption", ylabel="error in %")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    told = "; ".join(
        f"{stage}, {feature}: {errors[0]:.1f} and {sum(errors[1:]) / max(1, len(errors) - 1):.1f}"
        for (stage, feature), errors in lines.items()
    )
    text = f"Error in % by corruption; on clean images and in the mean of the others: {told}."
    return save_figure(figure, path, "Errors under corruption", text)
