"""How a run came to its end, where it is not plain."""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer

from blocklearn.training.early_stopping import stopped_early
from blocklearn.training.place import Place


def ending(trainer: Trainer, began_at: int | None) -> Iterator[str]:
    """A line where nothing was left to do, or where the run ended before its last batch.

    Args:
        trainer: after training.
        began_at: batches that were done before; None for a run from its beginning.
    """
    step, reason = trainer.global_step, None if _is_complete(trainer) else _reason(trainer)
    if began_at == step:
        yield (
            "Nothing left to do: "
            f"{reason or f'the run ends at batch {step}, where its checkpoint is'}."
        )
    elif reason:
        yield f"Ended at batch {step}: {reason}."


def _is_complete(trainer: Trainer) -> bool:
    epochs = trainer.max_epochs
    all_epochs = epochs not in (None, -1) and Place.of(trainer).epoch >= epochs
    return all_epochs or 0 <= trainer.max_steps <= trainer.global_step


def _reason(trainer: Trainer) -> str | None:
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    early = stopped_early(callbacks)
    if early:
        told = f"EarlyStopping, of patience {early.patience}, did not see {early.monitor} improve"
        return f"{told}; to go on, raise its patience"
    timers = [c for c in callbacks if isinstance(c, Timer) and (c.time_remaining() or 1) <= 0]
    if timers:
        return (
            "its time is up, that of all its parts together; to go on, raise --trainer.max_time, "
            "or the Timer's duration"
        )
    return (
        "a callback asked for it; to go on, repeat the command with --resume auto"
        if trainer.should_stop
        else None
    )
