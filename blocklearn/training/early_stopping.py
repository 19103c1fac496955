"""Lightning's EarlyStopping in a run that goes on."""

from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping


def keep_patience(callbacks: Iterable[Callback], checkpoint: Mapping[str, Any]) -> None:
    """Write the patience that is configured over that of the checkpoint, which Lightning would
    take."""
    states = checkpoint.get("callbacks") or {}
    for callback in callbacks:
        state = states.get(callback.state_key)
        if isinstance(callback, EarlyStopping) and isinstance(state, dict):
            state["patience"] = callback.patience


def stopped_early(callbacks: Iterable[Callback]) -> EarlyStopping | None:
    """What has ended this run already: a state that is loaded says it, and the Trainer would train
    one more epoch."""
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
            return callback
    return None
