"""Keep the latest state of the run on disk."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from blocklearn.distributed.block_parallel import BlockParallelStrategy
from blocklearn.distributed.borders import AtBorders, Border, Borders
from blocklearn.training.lightning_walk import LightningWalk


class LastCheckpoint(AtBorders, Checkpoint):
    """`FOLDER/last.ckpt`: after every epoch, every `minutes` within one, and at the end.
    `--ckpt_path last` finds it.

    It keeps no state of its own: a checkpoint that comes from elsewhere cannot tell it what to
    remove. Earlier states are kept by Lightning's `ModelCheckpoint` beside it, whose
    `train_time_interval` is not heeded under manual optimization, hence the clock here.

    Args:
        folder: where it lies.
        minutes: longest time between two states on disk, so the most a crash can cost.
    """

    def __init__(self, folder: Path, minutes: float = 15) -> None:
        self.path = folder / "last.ckpt"
        self.minutes = minutes
        self._saved_at = time.monotonic()
        self._saved_step = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # the hooks of an epoch's end, which Lightning calls next, take the part for a whole
        if _ends_here(trainer):
            self.save(trainer)
            return
        borders = borders_of(trainer)
        if borders is not None:
            if borders.here.save:
                self.save(trainer)
            return
        # Processes save together or not at all, and their clocks differ; asking at every batch
        # would make them wait.
        if trainer.world_size > 1 and trainer.global_step % max(trainer.log_every_n_steps, 1):  # pyright: ignore
            return
        if isinstance(pl_module, LightningWalk) and not pl_module.updated_at(batch_idx):
            return  # gradients that wait for the next batch would make it larger
        if trainer.strategy.reduce_boolean_decision(self.wish().save, all=False):
            self.save(trainer)

    def wish(self) -> Border:
        return Border(save=time.monotonic() - self._saved_at >= 60 * self.minutes)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        others_follow = any(
            isinstance(c, (EarlyStopping, ModelCheckpoint))
            for c in trainer.callbacks  # pyright: ignore
        )  # pyright: ignore
        # whose state is in it, and whose turn in this hook is later
        if trainer.is_last_batch and not others_follow:
            self.save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved_step != trainer.global_step:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved_step != trainer.global_step:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the state as it is now; every process of the run must call it."""
        if trainer.fast_dev_run or trainer.sanity_checking:  # pyright: ignore[reportAttributeAccessIssue]
            return
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step


def borders_of(trainer: Trainer) -> Borders | None:
    """What all processes do behind a batch, where they are not at the same one."""
    strategy = trainer.strategy
    return strategy.borders if isinstance(strategy, BlockParallelStrategy) else None


def _ends_here(trainer: Trainer) -> bool:
    """Whether the run ends behind this batch, in mid-epoch."""
    loop = trainer.fit_loop
    steps = 0 <= loop.max_steps <= trainer.global_step
    return not trainer.is_last_batch and (steps or (trainer.should_stop and loop._can_stop_early))
