"""Where metrics go: a CSV file always, Weights & Biases where it is installed."""

import csv
import netrc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only, rank_zero_warn

from blocklearn.evaluation.linear_probe import ProbeRow


@dataclass(frozen=True)
class WandbSettings:
    """Weights & Biases.

    Attributes:
        mode: `auto` is online where a key is known (WANDB_API_KEY or netrc) and offline otherwise; it never asks. The
            variable WANDB_MODE, where set, decides instead.
        project: of the run.
        name: of the run; null for the name of its folder.
        group: of the run.
        tags: of the run.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "blocklearn"
    name: str | None = None
    group: str | None = None
    tags: list[str] | None = None


class MetricsCSV(CSVLogger):
    """`FOLDER/metrics.csv`, one row a logged batch, on disk at once. A resumed run keeps the rows up to the batch that it
    goes on from."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)
        self._started = False

    @property
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _KeepingWriter(self.log_dir)  # pyright: ignore[reportAttributeAccessIssue]
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        if not self._started and step is not None:
            self.experiment.keep_rows_before(step)
            self._started = True
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` holds them all."""


class _KeepingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        """Lightning's own would delete the file."""

    def keep_rows_before(self, step: int) -> None:
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            self.metrics_keys = list(reader.fieldnames or [])
            rows = [row for row in reader if int(row["step"]) < step]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)


def build_wandb(settings: WandbSettings, folder: Path, config: dict[str, Any], job: str) -> Logger | None:
    """A W&B logger, or None where it is disabled or not installed. What goes wrong with it is a warning, never an error.

    Args:
        settings: of the run.
        folder: the run's folder; the files go to `FOLDER/wandb`.
        config: the run's configuration.
        job: `fit` or `test`.
    """
    mode = os.environ.get("WANDB_MODE") or settings.mode
    if mode == "auto":
        mode = "online" if _has_key() else "offline"
    if mode == "disabled" or find_spec("wandb") is None:
        return None
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            return _start_wandb(settings, folder, config, job, attempt)
        except Exception as error:  # whatever W&B does, the run goes on
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            rank_zero_warn(f"W&B did not start in mode {attempt}: {told}")
    return None


def _start_wandb(settings: WandbSettings, folder: Path, config: dict[str, Any], job: str, mode: str) -> Logger:
    if mode == "offline":
        os.environ.setdefault("WANDB_SILENT", "true")
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(
        name=settings.name or f"{folder.name}-{job}",
        save_dir=folder,
        project=settings.project,
        offline=mode == "offline",
        group=settings.group,
        tags=settings.tags,
        job_type=job,
        config=config,
        settings=wandb.Settings(silent=mode == "offline"),
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning 2.6 passes it; W&B 0.31 warns of it
    _ = logger.experiment  # starts it here, where a failure can be caught
    return logger


def log_probe(loggers: Sequence[Logger], rows: Sequence[ProbeRow], picture: Path) -> None:
    """The table and the picture of the linear probes, for the loggers that take such; the figures they have already."""
    columns = [row.as_dict() for row in rows]
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_table("probe/results", list(columns[0]), [list(row.values()) for row in columns])  # pyright: ignore
        if hasattr(logger, "log_image"):
            logger.log_image("probe/accuracy_by_block", [str(picture)])  # pyright: ignore


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
