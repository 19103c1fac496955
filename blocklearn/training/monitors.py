"""What callbacks may monitor: the names under which the walk logs, known before training."""

import copy
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor

from blocklearn.batch import Batch
from blocklearn.errors import UserError
from blocklearn.training.at_validation import kinds_at_validation
from blocklearn.training.contract import Carried, Walk
from blocklearn.training.trial import evaluating

# packages whose callbacks log nothing that is monitored
KNOWN = (
    "lightning.",
    "pytorch_lightning.",
    "blocklearn.",
)
SHOWN = 12
MEASURED_BY = {"knn": "OnlineKNN", "probe": "OnlineProbe"}


def require_monitors(
    walk: Walk, callbacks: Iterable[Callback], data: Any, validates: bool
) -> list[str]:
    """Refuse callbacks that wait for a metric that nobody logs.

    Where the name is none of `blockN/loss`, `val_loss`, `lr` and `skipped`, nor one that a callback
    logs at validations (`blockN/knn`), the objectives are asked for their metrics, by a step over a
    few samples that changes nothing.

    Args:
        walk: the network.
        callbacks: of the Trainer.
        data: the data module; without one that has `few_samples` the objectives' names stay
            unknown, and what begins with a block's name is let pass.
        validates: whether there is a validation.

    Returns:
        A line on each name that may come from a part that blocklearn does not know.

    Raises:
        UserError: with the names there are, the likeliest first.
    """
    callbacks = list(callbacks)
    asked = {
        name: type(c).__name__
        for c in callbacks
        if (name := getattr(c, "monitor", None)) and _insists(c)
    }
    told: list[str] = []
    kinds = kinds_at_validation(callbacks) if validates else ()
    logged = _plain_names(walk, validates, kinds)
    if asked.keys() <= set(logged):
        return told
    any_of = (
        () if hasattr(data, "few_samples") else tuple(f"{block.name}/" for block in walk.walked)
    )
    if not any_of:
        logged = sorted(
            {*logged, *_names_of_objectives(walk, data.few_samples(), validates)}, key=_in_order
        )
    if any(isinstance(c, LearningRateMonitor) for c in callbacks):
        any_of += ("lr-",)
    others = [type(c).__name__ for c in callbacks if not type(c).__module__.startswith(KNOWN)]
    own = others or ([] if type(walk).__module__.startswith(KNOWN) else [type(walk).__name__])
    for name, callback in asked.items():
        if name in logged or name.startswith(any_of):
            continue
        if not own:
            raise UserError(
                f"trainer.callbacks: {callback} monitors {name}, which is not "
                f"logged{_why(name, validates, logged)}"
            )
        told.append(
            f"{callback} monitors {name}, which blocklearn does not log; it is left to "
            f"{', '.join(own)}"
        )
    return told


def _insists(callback: Callback) -> bool:
    """EarlyStopping(strict=False) says that it may be missing."""
    return bool(getattr(callback, "strict", True))


def _plain_names(walk: Walk, validates: bool, more: tuple[str, ...]) -> list[str]:
    kinds = [
        "loss",
        "lr",
        *more,
        *(["val_loss"] if validates else []),
        *(["skipped"] if walk.rule.non_finite == "skip" else []),
    ]
    return [f"{block.name}/{kind}" for block in walk.walked for kind in kinds]


def _names_of_objectives(walk: Walk, batch: Batch, validates: bool) -> list[str]:
    dtype = next(
        walk.parameters()
    ).dtype  # that of the run's precision, where the Trainer has set it already
    views = [view.to(walk.device, dtype) for view in batch.views]
    carried, names = Carried(views), []
    index, label = batch.index.to(walk.device), batch.label.to(walk.device)
    batch = walk.masked(batch._replace(views=views, label=label, index=index))
    with evaluating(walk), torch.compiler.set_stance("force_eager"):  # compiling takes minutes
        for block in walk.walked:
            output = block.local_step(carried, batch)
            carried = output.carried
            told = {**output.metrics}
            for metric in copy.deepcopy(walk.watching.metrics):
                metric.update(block, output)
                told |= metric.compute()
            names += [
                f"{block.name}/{part}{key}"
                for key in told
                for part in ("", "val_")[: 1 + validates]
            ]
    return names


def _in_order(name: str) -> tuple[int, str]:
    block = name.partition("/")[0].removeprefix("block")
    return (int(block) if block.isdigit() else 0, name)


def _why(name: str, validates: bool, logged: list[str]) -> str:
    block, _, kind = name.partition("/")
    callback = MEASURED_BY.get(kind) if block.startswith("block") else None
    if not validates and (callback or "/val_" in name):
        return ": there is no validation (--trainer.limit_val_batches 0)"
    if callback and not any(known.endswith(f"/{kind}") for known in logged):
        return f" without --trainer.callbacks+={callback}"
    near = get_close_matches(name, logged, n=1, cutoff=0.5)
    listed = ", ".join(logged[:SHOWN]) + (
        f" and {len(logged) - SHOWN} more" if len(logged) > SHOWN else ""
    )
    return f"{f'; did you mean {near[0]}?' if near else '.'} There are {listed}"
