"""How the Trainer's checkpoints reach the disk."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from blocklearn.interop.files import replacing


class StreamingCheckpointIO(TorchCheckpointIO):
    """Writes straight to the file, whole or not at all. Lightning's own first builds the file in memory, twice: 10 GB
    more than the training itself for the published recipe."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with replacing(Path(path)) as unfinished:
            torch.save(checkpoint, unfinished)
