"""Progress with one figure a block."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class BlockProgressBar(TQDMProgressBar):
    """Lightning's bar with every block's loss, without the logger's version.

    While training, the losses are read when metrics are logged anyway
    (`trainer.log_every_n_steps`): reading one waits for the device.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shown: dict[str, Any] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        interval = max(getattr(trainer, "log_every_n_steps", 1), 1)
        if trainer.training and self._shown and trainer.global_step % interval:
            return self._shown
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        self._shown = {key.removesuffix("/loss"): value for key, value in metrics.items()}
        return self._shown
