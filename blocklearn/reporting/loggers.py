"""Where metrics go: a CSV file always, Weights & Biases where it is installed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import Logger

from blocklearn.evaluation.evaluation import Row
from blocklearn.reporting.metrics_csv import MetricsCSV
from blocklearn.reporting.wandb_logger import PatientWandbLogger
from blocklearn.reporting.wandb_reach import has_key
from blocklearn.reporting.wandb_start import start_wandb

__all__ = [
    "MetricsCSV",
    "WandbSettings",
    "build_wandb",
    "finish_wandb",
    "log_pictures",
    "log_probe",
]


@dataclass(frozen=True)
class WandbSettings:
    """Weights & Biases.

    Attributes:
        mode: whether to log to Weights & Biases; `auto` is online where a key is known
            (WANDB_API_KEY or netrc) and offline otherwise, and never asks. The variable WANDB_MODE,
            where set, decides instead.
        project: to log into.
        name: of the run there; null for the name of its folder.
        group: of runs that belong together.
        tags: to find the run by.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "blocklearn"
    name: str | None = None
    group: str | None = None
    tags: list[str] | None = None


def build_wandb(
    settings: WandbSettings, folder: Path, config: dict[str, Any], job: str, resume: bool = False
) -> Logger | None:
    """A W&B logger, or None where it is disabled, not installed, or has no place to write. It never
    asks, never raises, and where its server is not there the run is kept offline, which is said in
    one line.

    Args:
        settings: of the run.
        folder: the run's folder; the files go to `FOLDER/wandb`.
        config: the run's configuration.
        job: `fit` or `test`.
        resume: whether the run in `folder` goes on; it is then the same run at W&B. Only `fit` is.
    """
    mode = _mode(settings)
    if mode == "disabled" or find_spec("wandb") is None:
        return None
    arguments = {
        "name": settings.name or f"{folder.name}-{job}",
        "save_dir": folder,
        "project": settings.project,
        "group": settings.group,
        "tags": settings.tags,
        "job_type": job,
        "config": config,
    }
    return start_wandb(arguments, mode, resume)


def finish_wandb(loggers: Sequence[Logger], failed: bool) -> None:
    """End the run at W&B, which records how it ended; to be called once nothing is logged any more.
    It never raises, and waits half a minute at most.

    Args:
        loggers: all of them; those of another kind are left alone.
        failed: whether the job ended in an error or was interrupted.
    """
    for logger in loggers:
        if isinstance(logger, PatientWandbLogger):
            logger.finish(failed)


def _mode(settings: WandbSettings) -> str:
    """W&B has older names for two of them."""
    mode = os.environ.get("WANDB_MODE") or settings.mode
    if mode == "auto":
        return "online" if has_key() else "offline"
    return {"dryrun": "offline", "run": "online"}.get(mode, mode)


def log_probe(loggers: Sequence[Logger], rows: Sequence[Row], pictures: Sequence[Path]) -> None:
    """The table and the pictures of an evaluation, for the loggers that take such; the figures
    they have already."""
    columns = [row.as_dict() for row in rows]
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_table(  # pyright: ignore[reportAttributeAccessIssue]
                "probe/results", list(columns[0]), [list(row.values()) for row in columns]
            )  # pyright: ignore
    log_pictures(loggers, "probe", pictures)


def log_pictures(loggers: Sequence[Logger], group: str, pictures: Sequence[Path]) -> None:
    """Files in PNG, for the loggers that take such."""
    for logger in loggers:
        if hasattr(logger, "log_image"):
            for picture in pictures:
                logger.log_image(f"{group}/{picture.stem}", [str(picture)])  # pyright: ignore
