"""Where a run was trained, and what it cost."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from blocklearn.reporting.run_facts import environment, read_facts
from blocklearn.weights.atomic_write import replacing


class RunFacts(Callback):
    """`run_facts.json`: environment, time, batches and peak memory of every part of a run that was
    stopped and went on, one entry a part. Written when training ends, however it ends.

    `seconds_per_batch` is the median from the end of a batch to the end of the next, loading
    included, without what is done between epochs. Peak memory is that of the first process: its
    device's where that is a GPU, its own (and not its loaders') otherwise.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = time.monotonic()
        self._first = 0
        self._before: float | None = None  # when the last batch of this epoch ended
        self._batches: list[float] = []  # seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began, self._first = time.monotonic(), trainer.global_step
        self._before, self._batches = None, []
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = None

    def on_train_batch_end(self, *_: object) -> None:
        now = time.monotonic()
        if self._before is not None:
            self._batches.append(now - self._before)
        self._before = now

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if trainer.state.fn == "fit" and trainer.global_step > self._first:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero or not self.path.parent.is_dir():
            return
        parts = [part for part in read_facts(self.path) if part["from_batch"] < self._first]
        parts.append(
            {
                "from_batch": self._first,
                "to_batch": trainer.global_step,
                "seconds": round(time.monotonic() - self._began, 3),
                "seconds_per_batch": round(median(self._batches), 6) if self._batches else None,
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                "processes": trainer.world_size,
                "precision": str(trainer.precision),
                **environment(trainer.strategy.root_device),
            }
        )
        with replacing(self.path) as unfinished:
            unfinished.write_text(json.dumps(parts, indent=2) + "\n")
