"""What a checkpoint says of the run that wrote it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from blocklearn.distributed.groups import world_size
from blocklearn.reporting.loggers import MetricsCSV
from blocklearn.runs.resume import (
    RUN,
    GoingOn,
    accept,
    deciding,
    require_same_processes,
    write_down,
)


class RunSettings(Callback):
    """Writes the settings that decide what is learned into every checkpoint, so that a run does not
    go on with others unnoticed; tells and keeps what was changed; and tells the table of metrics
    where the run begins.

    Args:
        config: the run's configuration as plain data.
        going_on: how the run begins.
        table: file for the changes.
    """

    def __init__(self, config: Mapping[str, Any], going_on: GoingOn, table: Path) -> None:
        self.settings = json.dumps(deciding(config))
        self.going_on = going_on
        self.table = table

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.begin_at(trainer.global_step)
        changes = self.going_on.changes
        if changes and trainer.is_global_zero:
            for line in accept(changes, accepted=True):
                print(f"Changed from batch {trainer.global_step} on: {line}", file=sys.stderr)
            write_down(changes, trainer.global_step, self.table)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[RUN] = {"settings": self.settings, "processes": world_size()}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        require_same_processes(checkpoint, world_size(), self.going_on.accepted)
