"""Progress with one figure a block."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class BlockProgressBar(TQDMProgressBar):
    """Lightning's bar with every block's loss, without the logger's version."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {key.removesuffix("/loss"): value for key, value in metrics.items()}
