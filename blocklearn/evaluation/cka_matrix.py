"""CKA between all stages of one network, or of two."""

import csv
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from blocklearn.metrics.linear_cka import linear_cka
from blocklearn.metrics.minibatch_cka import MinibatchCKA
from blocklearn.weights.atomic_write import replacing


def cka_matrix(
    rows: Sequence[Tensor], columns: Sequence[Tensor], batch: int | None = None
) -> list[list[float]]:
    """CKA of each of `rows` with each of `columns`, `(N, D)` each, of the same samples in the same
    order.

    Args:
        rows: features of one network.
        columns: of the same one, or another.
        batch: samples per batch of minibatch CKA, >= 4; the last batch is left out where it has
            fewer. None for plain linear CKA.
    """
    return [[_cka(x, y, batch) for y in columns] for x in rows]


def _cka(x: Tensor, y: Tensor, batch: int | None) -> float:
    if batch is None:
        return linear_cka(x, y)
    metric = MinibatchCKA()
    for part, other in zip(x.split(batch), y.split(batch), strict=True):
        if len(part) >= min(batch, len(x)):
            metric.update(part, other)
    return metric.compute()


def write_matrix(
    path: Path, values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]
) -> Path:
    """As CSV, with the names of rows in the first column and those of columns in the first
    line."""
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("", *columns))
        for name, row in zip(rows, values, strict=True):
            writer.writerow((name, *(f"{value:.6f}" for value in row)))
    return path
