"""Keep the latest state of the run on disk."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """`FOLDER/last.ckpt`: after every epoch, every `minutes` within one, and at the end. `--ckpt_path last` finds it.

    Lightning's `train_time_interval` is not heeded under manual optimization, hence the clock here.

    Args:
        folder: where it lies.
        minutes: longest time between two states on disk, so the most a crash can cost.
    """

    def __init__(self, folder: Path, minutes: float = 15) -> None:
        super().__init__(
            folder, filename="last", save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
        )
        self.minutes = minutes
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Processes save together or not at all, and their clocks differ; asking at every batch would make them wait.
        if trainer.world_size > 1 and trainer.global_step % max(trainer.log_every_n_steps, 1):  # pyright: ignore
            return
        if trainer.strategy.reduce_boolean_decision(time.monotonic() - self._saved_at >= 60 * self.minutes, all=False):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._last_global_step_saved != trainer.global_step:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        self._saved_at = time.monotonic()
