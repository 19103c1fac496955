"""When what callbacks monitor is there: a name may be right, and nothing be logged under it when it
is asked for."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from blocklearn.errors import UserError
from blocklearn.training.at_validation import is_validated
from blocklearn.training.contract import LocalBlock


class Rhythm(NamedTuple):
    """How a run is divided.

    Attributes:
        batches: of an epoch.
        total: batches of the run.
        validates: whether there is a validation at all.
        every_n_epochs: epochs from one validation to the next; null where its batches are counted
            over epochs.
        interval: batches, or the part of an epoch, from one validation to the next; what is neither
            is a time.
        log_every: batches from one value of what is no loss to the next.
    """

    batches: int
    total: int
    validates: bool
    every_n_epochs: int | None
    interval: object
    log_every: int

    @property
    def first_validation(self) -> float:
        """The number of batches before it; 0 where a clock says when, infinite where it never
        comes."""
        if not self.validates:
            return inf
        if not isinstance(self.interval, (int, float)):
            return 0
        whole = isinstance(self.interval, int)
        within = self.interval if whole else max(int(self.batches * self.interval), 1)
        return within + self.batches * ((self.every_n_epochs or 1) - 1)

    @property
    def validates_at_epochs_ends(self) -> bool:
        """As EarlyStopping sees it, which then looks at the end of every epoch."""
        return self.interval == 1.0 and self.every_n_epochs == 1


def require_in_time(
    blocks: Sequence[LocalBlock],
    windows: Sequence[range],
    callbacks: Iterable[Callback],
    rhythm: Rhythm,
) -> None:
    """Refuse EarlyStopping and ModelCheckpoint that would look where nothing is logged yet, or any
    more.

    Args:
        blocks: of the network.
        windows: the batches from which each of them learns.
        callbacks: of the Trainer.
        rhythm: of the run.

    Raises:
        UserError: saying what to monitor, or when to look.
    """
    callbacks = list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, (EarlyStopping, ModelCheckpoint)) or not callback.monitor:
            continue
        validated = is_validated(callback.monitor, callbacks)
        complaint = _never_looks(callback, validated, rhythm)
        complaint = complaint or _not_there(callback, validated, rhythm)
        for block, window in zip(blocks, () if validated else windows, strict=not validated):
            complaint = complaint or _not_learning(callback, block.name, window, rhythm)
        if complaint:
            raise UserError(
                f"trainer.callbacks: {type(callback).__name__} monitors {callback.monitor}, "
                f"{complaint}"
            )


def _never_looks(callback: EarlyStopping | ModelCheckpoint, validated: bool, rhythm: Rhythm) -> str:
    waits = validated or (
        isinstance(callback, EarlyStopping) and not _at_epochs_ends(callback, rhythm)
    )
    if not waits or rhythm.first_validation <= rhythm.total:
        return ""
    if not rhythm.validates:
        return "but looks after validations, and there is none; set check_on_train_epoch_end: true"
    return (
        f"but the first validation would come after {rhythm.first_validation} batches, and the run "
        f"has {rhythm.total}; lower --trainer.check_val_every_n_epoch or "
        "--trainer.val_check_interval"
    )


def _not_there(callback: EarlyStopping | ModelCheckpoint, validated: bool, rhythm: Rhythm) -> str:
    if (
        not isinstance(callback, EarlyStopping)
        or not callback.strict
        or not callback.monitor.startswith("block")
    ):
        return ""
    at_ends = _at_epochs_ends(callback, rhythm)
    if at_ends and validated and rhythm.first_validation > rhythm.batches:
        return (
            "which is not there yet at the end of the first epoch; leave check_on_train_epoch_end "
            "out"
        )
    rare = not validated and not callback.monitor.endswith("/loss")
    if rare and not at_ends and 0 < rhythm.first_validation < min(rhythm.log_every, rhythm.batches):
        return (
            f"which is logged every {rhythm.log_every} batches, and the first validation comes "
            "before; lower --trainer.log_every_n_steps"
        )
    return ""


def _not_learning(
    callback: EarlyStopping | ModelCheckpoint, block: str, window: range, rhythm: Rhythm
) -> str:
    name = (callback.monitor or "").partition("/")[0]
    if name != block:
        return ""
    stops = isinstance(callback, EarlyStopping)
    first_look = (
        rhythm.batches
        if not stops or _at_epochs_ends(callback, rhythm)
        else rhythm.first_validation
    )
    late = window.start >= first_look and (
        not isinstance(callback, EarlyStopping) or callback.strict
    )
    if late or (stops and window.stop < rhythm.total):
        return (
            f"but {block} learns, and is logged, only from batch {window.start} to {window.stop} "
            f"of {rhythm.total}; monitor {block}/val_loss"
        )
    return ""


def _at_epochs_ends(callback: EarlyStopping, rhythm: Rhythm) -> bool:
    asked = callback._check_on_train_epoch_end
    return rhythm.validates_at_epochs_ends if asked is None else asked
