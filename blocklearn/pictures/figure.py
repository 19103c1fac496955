"""What all pictures share: their look, and a text for those who do not see them."""

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from blocklearn.weights.atomic_write import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colors without the two that are faint on white; distinct to the color-blind, and
# in an order in which neighbors differ in grey too
COLORS = ("#0072B2", "#E69F00", "#000000", "#D55E00", "#56B4E9", "#009E73", "#CC79A7")
MARKERS = "osD^vPX*"


def new_figure(width: float = 8.4, height: float = 4.2) -> "Figure":
    """An empty figure that lays itself out.

    Args:
        width: in inches.
        height: in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path, title: str, text: str) -> Path:
    """As PNG, whole or not at all; returns the path.

    Args:
        figure: to write.
        path: of the file.
        title: of the picture.
        text: what is to be seen, in one or two sentences, for those who do not see it. Title and
            text are kept in the file; reports take them from there.
    """
    with replacing(path) as unfinished:
        told = {"Title": title, "Description": text}
        figure.savefig(unfinished, format="png", dpi=150, metadata=told)
    return path


def told(path: Path) -> tuple[str, str]:
    """Title and text of a picture; its file's name where it has none."""
    with Image.open(path) as image:
        kept = {**image.info}
    title = str(kept.get("Title", path.stem.replace("_", " ")))
    return title, str(kept.get("Description", title))
