"""Write what `predict` computes, batch by batch."""

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from blocklearn import __version__
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.interop.rows_file import RowsFile
from blocklearn.reporting.tables import feature_name
from blocklearn.weights.atomic_write import replacing

HEADER = ("row", "split", "index", "path", "label", "note")
UNREADABLE = "cannot be read: its features are NaN"


class WriteFeatures(BasePredictionWriter):
    """A vector for every sample, of every feature that `blocklearn test` probes, in one safetensors
    file: `STAGE/KIND` `(N, D)`, `label` `(N,)` (-1 where there is none) and `index` `(N,)`, the
    sample's number in its split. Its metadata says of which network and data they are, and how
    tables call them. A table beside it has split and file of each row.

    Both are whole or as they were before; no more than a batch is held in memory.

    Args:
        path: of the features; the table is called the same, in .csv.
        about: further metadata, as plain data.
    """

    def __init__(self, path: Path, about: Mapping[str, Any] | None = None) -> None:
        super().__init__("batch")
        self.path, self.table = path, path.with_suffix(".csv")
        self.about = about or {}
        self.rows = 0
        self._open = ExitStack()
        self._file: RowsFile | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: KeyedDataModule = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        self._parts = data.predicted
        self._samples = [
            (split, index) for split, part in self._parts.items() for index in range(len(part))
        ]
        self._roots, self._title = data.roots, data.title
        self.rows = min(len(self._samples), int(trainer.num_predict_batches[0]) * data.batch_size)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: dict[str, Tensor],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        assert batch_indices is not None
        asked = [self._samples[row] for row in batch_indices]
        columns = _without_stand_ins(prediction, [index for _, index in asked])
        if self._file is None:
            self._begin(trainer, columns)
        assert self._file is not None
        self._file.append(columns)
        for row, (split, index), label, found in zip(
            batch_indices,
            asked,
            columns["label"].tolist(),
            prediction["index"].tolist(),
            strict=True,
        ):
            note = "" if found == index else UNREADABLE
            self._table.writerow((row, split, index, self._path(split, index), label, note))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._open.__exit__(type(exception), exception, exception.__traceback__)

    def told(self) -> str:
        """What was written, and where."""
        parts = ", ".join(f"{len(samples)} of {split}" for split, samples in self._parts.items())
        whole = sum(map(len, self._parts.values()))
        shortened = "" if self.rows == whole else f"the first {self.rows} of "
        return (
            f"Written: {self.path}, {shortened}{whole} samples ({parts}), and {self.table}, which "
            "says whose they are"
        )

    def _begin(self, trainer: Trainer, columns: Mapping[str, Tensor]) -> None:
        file = self._open.enter_context(replacing(self.path, RowsFile.size(self.rows, columns)))
        table = self._open.enter_context(replacing(self.table))
        self._file = RowsFile(file, self.rows, columns, self._metadata(trainer))
        self._open.callback(self._file.close)
        self._table = csv.writer(self._open.enter_context(table.open("w", newline="")))
        self._table.writerow(HEADER)

    def _metadata(self, trainer: Trainer) -> dict[str, str]:
        network: Any = trainer.lightning_module
        features = [
            {"key": spec.key, **spec._asdict(), "name": feature_name(spec.kind)}
            for spec in network.feature_specs()
        ]
        plain = {
            "features": features,
            "data": self._title,
            "roots": [str(root) for root in self._roots],
            "splits": {split: len(samples) for split, samples in self._parts.items()},
            "samples": self.table.name,
            "network": network.structure.as_plain(),
            **self.about,
        }
        return {
            "format": "pt",
            "blocklearn": __version__,
            **{key: json.dumps(value) for key, value in plain.items()},
        }

    def _path(self, split: str, index: int) -> str:
        """Relative to the folder of the data, where the sample is a file in it."""
        paths: Sequence[Path] | None = getattr(self._parts[split], "paths", None)
        if paths is None:
            return ""
        path = Path(paths[index])
        root = next((root for root in self._roots if path.is_relative_to(root)), None)
        return str(path.relative_to(root) if root else path)


def _without_stand_ins(
    prediction: Mapping[str, Tensor], expected: Sequence[int]
) -> dict[str, Tensor]:
    """Where another sample stood in for one that cannot be read, no vector is better than that of
    another."""
    strange = prediction["index"].cpu() != torch.tensor(expected)
    columns = {name: values.cpu() for name, values in prediction.items()}
    if not strange.any():
        return columns
    for values in columns.values():
        values[strange] = float("nan") if values.is_floating_point() else -1
    columns["index"] = torch.tensor(expected)
    return columns
