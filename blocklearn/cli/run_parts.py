"""What a command gives its Trainer besides what the user asked for: a folder, callbacks, loggers,
processes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar

from blocklearn.callbacks.collapse_alarm import CollapseAlarm
from blocklearn.callbacks.draw_curves import DrawCurves
from blocklearn.callbacks.export_backbone import ExportBackbone
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.callbacks.progress_bar import BlockProgressBar
from blocklearn.callbacks.run_facts import RunFacts
from blocklearn.callbacks.run_settings import RunSettings
from blocklearn.callbacks.stop_on_signal import StopOnSignal
from blocklearn.cli.verbs import LEAVE_NOTHING
from blocklearn.distributed.block_parallel import BlockParallelStrategy
from blocklearn.distributed.launch import asks_for_several, is_first_process, one_of
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.errors import UserError
from blocklearn.reporting.loggers import MetricsCSV
from blocklearn.reporting.wandb_run_id import PATTERN
from blocklearn.runs.resume import GoingOn
from blocklearn.runs.run_folder import RunFolder
from blocklearn.training.trainer_parts import OF_TRAINING
from blocklearn.weights.hub import in_hub_cache

WHOLE = {
    **{f"limit_{part}_batches": 1.0 for part in ("train", "val", "test", "predict")},
    "overfit_batches": 0.0,
    "fast_dev_run": False,
    "max_time": None,
}
# how the first process tells those it starts where the run lies
FOLDER_VARIABLE = "BLOCKLEARN_RUN_FOLDER"


def settle_folder(trainer: Any) -> None:
    """Where an agent of a W&B sweep started this run and no folder is named: `runs/SWEEP/RUN`, so
    that a run that the agent starts again is found by `--resume auto`."""
    ids = [os.environ.get(f"WANDB_{name}_ID", "") for name in ("SWEEP", "RUN")]
    if not trainer.default_root_dir and all(PATTERN.fullmatch(one) for one in ids):
        trainer.default_root_dir = str(Path("runs", *ids))


def choose_folder(verb: str, config: Any, arguments: Sequence[str]) -> RunFolder:
    """Of the run: the one that was named, that of the checkpoint, or a new one. Where a checkpoint
    is evaluated only the command line names a folder: a run's `config.yaml` may say where the run
    lay before it was moved."""
    if verb in LEAVE_NOTHING:
        return RunFolder(Path(config.trainer.default_root_dir or "."))
    checkpoint = None if verb == "fit" else config.model.checkpoint
    by_hand = any(arg.partition("=")[0] == "--trainer.default_root_dir" for arg in arguments)
    if config.trainer.default_root_dir and (by_hand or not checkpoint):
        return RunFolder(Path(config.trainer.default_root_dir))
    if checkpoint and not in_hub_cache(Path(checkpoint)):
        return RunFolder.of_checkpoint(Path(config.model.checkpoint))
    if not is_first_process():
        return _folder_of_first_process()
    data = config.data.class_path.rsplit(".", 1)[-1].lower()
    folder = RunFolder.new(f"{config.model.backbone}_{data}")
    os.environ[FOLDER_VARIABLE] = str(folder.path.absolute())
    return folder


def training_callbacks(
    config: Any, folder: RunFolder, plain: dict[str, Any], going_on: GoingOn
) -> list[Callback]:
    """Those of `fit`, in their order: the last checkpoint has its turn after all others."""
    callbacks = with_progress_bar(config, config["callbacks"] or [])
    if config["fast_dev_run"]:
        return callbacks
    keeps = config["enable_checkpointing"] is not False
    kept = LastCheckpoint(folder.checkpoints) if keeps else None
    if not any(isinstance(callback, CollapseAlarm) for callback in callbacks):
        callbacks.append(CollapseAlarm())
    callbacks += [
        ExportBackbone(folder.backbone),
        RunFacts(folder.facts),
        DrawCurves(folder.path),
        RunSettings(plain, going_on, folder.changes),
        StopOnSignal(kept),
    ]
    return [*callbacks, kept] if kept else callbacks


def evaluation_callbacks(config: Any) -> list[Callback]:
    """Those of the other verbs: what belongs to training is left out."""
    chosen = [c for c in config["callbacks"] or [] if not isinstance(c, OF_TRAINING)]
    return with_progress_bar(config, chosen)


def take_few_samples(config: Any) -> None:
    """For a look at one batch."""
    config.data.init_args.batch_size = min(config.data.init_args.batch_size, 8)
    config.data.init_args.num_workers = 0
    config.model.network.compile = False  # minutes, for a few samples


def with_progress_bar(config: Any, callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks, and a progress bar where there is none and none was refused."""
    has_one = any(isinstance(callback, ProgressBar) for callback in callbacks)
    wanted = config["enable_progress_bar"] is not False and not has_one
    return [*callbacks, BlockProgressBar()] if wanted else list(callbacks)


def whole_unless_asked(arguments: Sequence[str]) -> dict[str, Any]:
    """How a training run was cut short says nothing about its evaluation: the Trainer's limits are
    lifted, but for those on this command line."""
    asked = {arg.partition("=")[0] for arg in arguments}
    return {name: value for name, value in WHOLE.items() if f"--trainer.{name}" not in asked}


def processes(verb: str, config: Any) -> dict[str, Any]:
    """The strategy for several processes, where the user did not choose one; evaluating and writing
    features take one."""
    if not asks_for_several(config["accelerator"], config["devices"], config["num_nodes"]):
        return {}
    chain = isinstance(config["strategy"], BlockParallelStrategy)
    if verb in ("test", "predict") or (chain and verb != "fit"):
        print(f"{verb} runs on one device.", file=sys.stderr)
        return {"devices": one_of(config["devices"]), "num_nodes": 1, "strategy": "auto"}
    return {"strategy": BlockwiseDDPStrategy()} if config["strategy"] == "auto" else {}


def loggers(verb: str, chosen: Any, folder: Path, wandb: Any) -> Any:
    """The user's own, and a CSV file always; W&B where the user did not choose.

    Args:
        verb: of the command.
        chosen: by the user.
        folder: for the CSV file.
        wandb: makes the logger of W&B, or None.
    """
    if chosen is False or verb not in ("fit", "test"):
        return [MetricsCSV(folder)] if verb == "fit" else False
    found: list[Any] = [MetricsCSV(folder)]
    if chosen in (None, True):
        found.append(wandb())
    else:
        found += chosen if isinstance(chosen, list) else [chosen]
    return [logger for logger in found if logger is not None]


def _folder_of_first_process() -> RunFolder:
    if FOLDER_VARIABLE not in os.environ:
        raise UserError(
            "--trainer.default_root_dir is needed where the processes do not start one another"
        )
    return RunFolder(Path(os.environ[FOLDER_VARIABLE]))
