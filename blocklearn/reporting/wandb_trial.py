"""A trial of a W&B sweep that ends before its run began there has failed too."""

import os
import tempfile
from pathlib import Path

from blocklearn.reporting.loggers import WandbSettings, build_wandb, finish_wandb
from blocklearn.reporting.wandb_logger import PatientWandbLogger


def record_failed_trial(arguments: list[str]) -> None:
    """Where an agent of a sweep started this process and no run of it is known to W&B yet, such as
    after a setting that is
    refused: begin the trial's run and end it as failed, so that the sweep sees what became of it.

    Args:
        arguments: of the command, kept as the run's configuration.
    """
    if not os.environ.get("WANDB_SWEEP_ID") or PatientWandbLogger.begun:
        return
    with tempfile.TemporaryDirectory() as folder:
        logger = build_wandb(WandbSettings(), Path(folder), {"command": arguments}, arguments[0])
        if logger is not None:
            finish_wandb([logger], failed=True)
