"""Write what `predict` computes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from safetensors.torch import save_file

from blocklearn.interop.files import replacing


class WriteFeatures(BasePredictionWriter):
    """All features of all images in one safetensors file: `STAGE/KIND` `(N, D)`, `label` `(N,)`, `index` `(N,)`."""

    def __init__(self, path: Path) -> None:
        super().__init__("epoch")
        self.path = path

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        columns = {key: torch.cat([part[key] for part in predictions]).cpu().contiguous() for key in predictions[0]}
        with replacing(self.path) as unfinished:
            save_file(columns, unfinished)
