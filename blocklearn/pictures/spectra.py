"""Eigenvalue spectra in logarithms."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blocklearn.pictures.figure import COLORS, MARKERS, new_figure, save_figure


def draw_spectra(spectra: Mapping[str, Sequence[float]], path: Path, title: str, text: str) -> Path:
    """Eigenvalues over their number, both axes in logarithms, one line each with a marker of its
    own and its name at its end, as PNG. Each is divided by its largest value, so that lines begin
    at one point and their slopes compare; values of 0 are left out.

    Args:
        spectra: by name, largest value first.
        path: of the file.
        title: of the picture.
        text: what is to be seen, for those who do not see it.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(spectra.items()):
        shown = [value / values[0] for value in values if value > 1e-12 * values[0]]
        if not shown:
            continue
        places = list(range(1, len(shown) + 1))
        color = COLORS[number % len(COLORS)]
        marked = sorted({min(int(1.6**step), len(shown)) - 1 for step in range(20)})
        axes.plot(
            places,
            shown,
            color=color,
            marker=MARKERS[number % len(MARKERS)],
            markevery=marked,
            markersize=5,
            linewidth=1.4,
        )
        axes.annotate(
            name,
            (places[-1], shown[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
            annotation_clip=False,
        )
    axes.set(
        title=title,
        xscale="log",
        yscale="log",
        xlabel="number of the eigenvalue",
        ylabel="eigenvalue, of the largest",
    )
    axes.set_xlim(right=axes.get_xlim()[1] * 1.5)  # room for the names
    axes.grid(alpha=0.3)
    return save_figure(figure, path, title, text)
