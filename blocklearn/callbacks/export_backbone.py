"""Write the trained backbone for other programs."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.interop.export import save_tensors


class ExportBackbone(Callback):
    """`backbone.safetensors` when training ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, BlockwiseModule):
            return
        tensors, strategy = pl_module.backbone_state_dict(), trainer.strategy
        if isinstance(strategy, BlockwiseDDPStrategy):
            tensors = strategy.joined(tensors)
        if trainer.is_global_zero:
            save_tensors(tensors, pl_module.structure, self.path)
