"""Write the trained backbone for other programs."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.interop.export import save_backbone


class ExportBackbone(Callback):
    """`backbone.safetensors` when training ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and isinstance(pl_module, BlockwiseModule):
            save_backbone(pl_module, self.path)
