"""Every block's figures as text that is as wide as a terminal, and no wider."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

GAP = 2  # characters between two columns


class Progress(NamedTuple):
    """Where a stage of a run stands.

    Attributes:
        what: `Epoch 3/18`, `Validation`, ...
        done: batches.
        total: batches, maybe infinitely many.
        pace: seconds a step and time left, as text.
    """

    what: str
    done: int
    total: float
    pace: str

    @property
    def batches(self) -> str:
        """`34/120`, or `34` where there is no end."""
        return f"{self.done}" if self.total == float("inf") else f"{self.done}/{int(self.total)}"


def figure_lines(metrics: Mapping[str, float], width: int, height: int) -> list[str]:
    """A column per block and a line per metric; blocks that do not fit beside each other stand
    below each other. Where there are more lines than `height` there are the losses alone.

    Attributes:
        metrics: by `BLOCK/METRIC`; other names stand behind them.
        width: characters.
        height: lines.
    """
    blocks = list(dict.fromkeys(_block(name) for name in metrics))
    if len(blocks) < 2:
        return _pairs(metrics, width)
    lines = _grid(metrics, blocks, width)
    losses = {name: value for name, value in metrics.items() if _metric(name) == "loss"}
    return _grid(losses, blocks, width) if len(lines) > height and losses else lines


def figures_in_line(metrics: Mapping[str, float]) -> str:
    """`loss block1 9.8, block2 11.2; knn block1 0.91, block2 0.94`."""
    told: dict[str, list[str]] = {}
    for name, value in metrics.items():
        told.setdefault(_metric(name), []).append(f"{_block(name)} {value:.4g}".strip())
    return "; ".join(f"{metric} {', '.join(values)}" for metric, values in told.items())


def _block(name: str) -> str:
    return name.rpartition("/")[0]


def _metric(name: str) -> str:
    return name.rpartition("/")[2]


def _pairs(metrics: Mapping[str, float], width: int) -> list[str]:
    lines = [""]
    for text in (f"{name} {value:.4g}" for name, value in metrics.items()):
        joined = f"{lines[-1]}{' ' * GAP}{text}" if lines[-1] else text
        lines[-1:] = [joined] if len(joined) <= width else [lines[-1], text]
    return [line for line in lines if line]


def _grid(metrics: Mapping[str, float], blocks: Sequence[str], width: int) -> list[str]:
    names = list(dict.fromkeys(map(_metric, metrics)))
    texts = {name: f"{value:.4g}" for name, value in metrics.items()}
    own = GAP + max(map(len, (*blocks, *texts.values())))
    first = max(map(len, names))
    most = max(1, (width - first) // own)
    lines = []
    for part in (blocks[at : at + most] for at in range(0, len(blocks), most)):
        rows = [("", part)]
        rows += [(name, [texts.get(f"{block}/{name}", "-") for block in part]) for name in names]
        lines += [f"{name:<{first}}" + _right(cells, own) for name, cells in rows]
    return lines


def _right(cells: Sequence[str], width: int) -> str:
    return "".join(f"{cell:>{width}}" for cell in cells)
