"""Flags that cannot be meant, told before anything is written; `plan.py` has what network, data and
budget make of one another."""

import re
import warnings
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from pydoc import locate
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from blocklearn.distributed.launch import asks_for_several
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.errors import UserError
from blocklearn.training.trainer_parts import refuse_kind

LARGEST_SEED = 2**32 - 1  # NumPy's
AT_LEAST = {
    "num_nodes": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
}
PARTS = tuple(f"limit_{part}_batches" for part in ("train", "val", "test", "predict"))
TRIED = (
    "accelerator",
    "devices",
    "num_nodes",
    "precision",
    "fast_dev_run",
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "max_time",
    *PARTS,
    "val_check_interval",
    "check_val_every_n_epoch",
    "gradient_clip_algorithm",
    "inference_mode",
    "sync_batchnorm",
    "reload_dataloaders_every_n_epochs",
)


def refuse_seed(seed: Any) -> None:
    """Raises:
    UserError: for a seed that no generator takes; `true` draws one, `false` sets none.
    """
    if not isinstance(seed, bool) and seed is not None and not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed_everything: a seed lies between 0 and {LARGEST_SEED}, got {seed}")


def refuse_flags(trainer: Mapping[str, Any], trains: bool) -> None:
    """Settings of the Trainer that no run can have.

    Args:
        trainer: the section of the configuration.
        trains: whether the verb is `fit`.

    Raises:
        UserError: naming the flag, and what it can be.
    """
    _refuse_numbers(trainer)
    _refuse_devices(trainer["devices"])
    _refuse_accelerator(trainer["accelerator"])
    _refuse_duration(trainer["max_time"])
    precision = str(trainer["precision"])
    if precision.startswith("16") or "float16" in precision:
        raise UserError(
            f"trainer.precision: {precision} would let one block's overflow skip the others: use "
            "bf16-mixed, or 32"
        )
    if trainer["barebones"]:
        raise UserError(
            "trainer.barebones: it leaves out checkpoints and logs, which blocklearn writes; "
            "leave it out"
        )
    for part in listed(trainer["callbacks"]):  # before what they are made with is read
        kind = locate(str(getattr(part, "class_path", None)))
        if isinstance(kind, type):
            refuse_kind(kind)
    if trains:
        _refuse_for_training(trainer)
        _try(trainer)


def _refuse_for_training(trainer: Mapping[str, Any]) -> None:
    for name in ("max_epochs", "max_steps"):
        value = trainer[name]
        if value is not None and (value < -1 or value == 0):
            raise UserError(
                f"trainer.{name}: {value} trains nothing; give at least 1, or -1 for no limit"
            )
    for least, most in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
        if trainer[least] and trainer[most] not in (None, -1) and trainer[least] > trainer[most]:
            raise UserError(
                f"trainer.{least}: {trainer[least]} is more than trainer.{most}, {trainer[most]}"
            )
    limit = trainer["limit_train_batches"]
    if limit is not None and limit == 0:
        raise UserError(
            "trainer.limit_train_batches: 0 leaves no batch to train on; give at least 1"
        )
    strategy = trainer["strategy"]
    if isinstance(strategy, str) and strategy != "auto":
        raise other_strategy(strategy)
    for flag, own, off in (
        ("gradient_clip_val", "gradient_clip_norm", None),
        ("accumulate_grad_batches", "accumulate_batches", 1),
    ):
        if trainer[flag] != off:
            raise UserError(
                f"--trainer.{flag} cannot know the blocks; --model.update.{own} {trainer[flag]} "
                "does it block by block"
            )
    if trainer["gradient_clip_algorithm"] is not None:
        raise UserError(
            "trainer.gradient_clip_algorithm: blocks are clipped by their gradient's norm, with "
            "--model.update.gradient_clip_norm"
        )
    if trainer["model_registry"] is not None:
        raise UserError(
            "trainer.model_registry: nothing is uploaded; blocklearn export writes the network "
            "with its model card"
        )
    if trainer["overfit_batches"]:
        raise UserError(
            "trainer.overfit_batches: it replaces the order of the samples; take few of them with "
            "--trainer.limit_train_batches"
        )


def listed(parts: Any) -> list[Any]:
    return parts if isinstance(parts, list) else [] if parts is None else [parts]


def other_strategy(name: str) -> UserError:
    near = get_close_matches(name, ("blockwise_ddp", "block_parallel"), n=1, cutoff=0.7)
    if near:
        return UserError(f"trainer.strategy: there is no {name}; did you mean {near[0]}?")
    return UserError(
        f"trainer.strategy: {name} expects one backward pass per step, blockwise training makes "
        "one per block: take blockwise_ddp, which several --trainer.devices choose by themselves, "
        "or block_parallel"
    )


def _refuse_numbers(trainer: Mapping[str, Any]) -> None:
    for name, least in AT_LEAST.items():
        value = trainer[name]
        if value is not None and not value >= least:
            raise UserError(f"trainer.{name} must be at least {least}, got {value}")
    for name in PARTS:
        value = trainer[name]
        if value is not None and not (value >= 0 and (isinstance(value, int) or value <= 1)):
            raise UserError(
                f"trainer.{name} is a number of batches, or a part from 0.0 to 1.0, got {value}"
            )
    value = trainer["val_check_interval"]
    if isinstance(value, (int, float)) and not (
        value > 0 and (isinstance(value, int) or value <= 1)
    ):
        raise UserError(
            "trainer.val_check_interval is a positive number of batches, or a part of an epoch up "
            f"to 1.0, got {value}"
        )


def _refuse_devices(devices: Any) -> None:
    words = (
        devices if isinstance(devices, list) else str(devices).strip().removesuffix(",").split(",")
    )
    numbers = [int(word) for word in words if re.fullmatch(r"\s*-?\d+\s*", str(word))]
    several = isinstance(devices, list) or "," in str(devices)
    sound = len(numbers) == len(words) and len(set(numbers)) == len(numbers)
    if words == ["auto"] or (sound and several and numbers and min(numbers) >= 0):
        return
    if not sound or several or not (numbers[0] >= 1 or numbers[0] == -1):
        raise UserError(
            f"trainer.devices: {devices} leaves no device to train on; give a number of them from "
            "1 on, -1 for all, the numbers of some, as in [0, 2], or auto"
        )


def _refuse_accelerator(accelerator: Any) -> None:
    if not isinstance(accelerator, str) or accelerator == "auto":
        return
    there = [name for name in AcceleratorRegistry.available_accelerators() if _is_there(name)]
    there += ["gpu"] if {"cuda", "mps"} & {*there} else []
    if accelerator not in there:
        raise UserError(
            f"trainer.accelerator: there is no {accelerator} on this machine; it can be auto, "
            f"{', '.join(sorted(there))}"
        )


def _is_there(accelerator: str) -> bool:
    try:
        return AcceleratorRegistry.get(accelerator).is_available()
    except ImportError:  # the TPU's own library
        return False


def _refuse_duration(given: Any) -> None:
    """As Lightning reads it: a text of days, hours, minutes and seconds, or their numbers by
    name."""
    if given is None:
        return
    try:
        if isinstance(given, str):
            days, hours, minutes, seconds = (int(part) for part in given.split(":"))
            length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        else:
            length = given if isinstance(given, timedelta) else timedelta(**dict(given))
    except (TypeError, ValueError, OverflowError):
        length = timedelta()
    if length <= timedelta():
        raise UserError(
            f"trainer.max_time: {given} is no duration; give DAYS:HOURS:MINUTES:SECONDS, as in "
            "00:12:00:00, or "
            "{hours: 12}"
        )


def _try(trainer: Mapping[str, Any]) -> None:
    """Whatever else Lightning refuses, it refuses in a Trainer of these settings that is thrown
    away."""
    settings: dict[str, Any] = {name: trainer[name] for name in TRIED}
    if isinstance(trainer["profiler"], str):
        settings["profiler"] = trainer["profiler"]
    if asks_for_several(trainer["accelerator"], trainer["devices"], trainer["num_nodes"]):
        settings["strategy"] = BlockwiseDDPStrategy()
    for part in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"):
        settings[part] = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run's own Trainer says it again
            Trainer(**settings)
    except (MisconfigurationException, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
