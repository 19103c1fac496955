"""Start Weights & Biases: online where it can be, else offline, else not at all."""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from blocklearn.reporting.plain_files import require_room
from blocklearn.reporting.wandb_logger import PatientWandbLogger, first_line, quiet_settings, say
from blocklearn.reporting.wandb_mend import mend_files
from blocklearn.reporting.wandb_reach import has_key, what_is_wrong
from blocklearn.reporting.wandb_run_id import keep_run_id, kept_run_id, new_run_id

REACH = 4.0  # seconds in which the server has to answer, before W&B is started


def start_wandb(arguments: dict[str, Any], mode: str, resume: bool) -> PatientWandbLogger | None:
    """Never raises.

    Args:
        arguments: of `WandbLogger`.
        mode: of W&B.
        resume: whether the run in the folder goes on.
    """
    try:
        if getattr(rank_zero_only, "rank", 0):
            return PatientWandbLogger(**arguments, mode=mode)
        arguments |= _identity(_writable(arguments["save_dir"]), arguments["job_type"], resume)
        return _start(arguments, mode)
    except Exception as error:  # whatever W&B does, the run goes on
        place = arguments["save_dir"] / "wandb"
        say(
            f"W&B did not start in {place} ({first_line(error)}); the run goes on without it, "
            "metrics.csv has all"
        )
    return None


def _start(arguments: dict[str, Any], mode: str) -> PatientWandbLogger:
    began = time.monotonic()
    if mode == "offline":
        return _started(arguments, mode, began)
    wrong = what_is_wrong(REACH) if has_key() else "no key of W&B is known"
    if not wrong:
        try:
            return _started(arguments, mode, began)
        except Exception as error:
            wrong = f"W&B did not start ({first_line(error)})"
    logger = _started(arguments, "offline", began)
    say(f"{wrong}. {logger.how_to_sync()}")
    return logger


def _started(arguments: dict[str, Any], mode: str, began: float) -> PatientWandbLogger:
    logger = PatientWandbLogger(**arguments, mode=mode, settings=quiet_settings())
    logger.start(time.monotonic() - began)
    if mode != "offline":
        say(f"W&B: {logger.experiment.url}")
    return logger


def _writable(folder: Path) -> Path:
    """W&B itself would write to another folder.

    Raises:
        OSError: where `FOLDER/wandb` cannot be written or is a link.
    """
    place = folder / "wandb"
    if place.is_symlink():
        raise OSError(f"{place} is a symbolic link")
    place.mkdir(parents=True, exist_ok=True)
    require_room(place)
    return folder


def _identity(folder: Path, job: str, resume: bool) -> dict[str, Any]:
    """A training run that goes on keeps its id, every other job gets a new one; a sweep gives its
    own."""
    if any(os.environ.get(name) for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID")):
        return {}
    kept = kept_run_id(folder) if resume and job == "fit" else None
    if kept:
        mend_files(folder, kept)
        return {"id": kept, "resume": "allow"}
    run_id = new_run_id()
    if job == "fit":
        keep_run_id(folder, run_id)
    return {"id": run_id, "resume": None}
