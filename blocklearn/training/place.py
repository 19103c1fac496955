"""Where a run stands between two batches, and how the Trainer's loops are put there again.

Lightning guesses from its counters in which hook a checkpoint was taken, and guesses wrongly at the
borders of epochs, of validations and of `max_steps`. So a checkpoint says it in plain words,
whatever hook it was taken in, and the loops are set by them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import RestartStage as ValidationStage
from lightning.pytorch.loops.fit_loop import RestartStage as EpochStage
from lightning.pytorch.loops.training_epoch_loop import RestartStage as BatchStage

from blocklearn.errors import UserError

PLACE = "blocklearn_place"  # the checkpoint's key


class Place(NamedTuple):
    """Between two batches of a run.

    Attributes:
        epoch: the epoch under way, from 0; so many are done, hooks of their end included.
        batches: done in it.
        total: done in the whole run.
        validation_due: behind the last of them comes a validation, which moves no weight and is
            done from its beginning.
    """

    epoch: int
    batches: int
    total: int
    validation_due: bool

    @classmethod
    def of(cls, trainer: Trainer) -> "Place":
        """Where the run stands now, in any hook but `training_step`."""
        loop, batches, _ = _loops(trainer)
        started, counts = loop.epoch_progress.current.started, batches.batch_progress
        done, total = counts.current.processed, counts.total.processed
        if started == 0:
            return cls(0, 0, 0, False)
        # or cut short by max_steps, max_time or a callback
        over = loop.epoch_progress.current.processed >= started
        if over and (counts.is_last_batch or done >= trainer.num_training_batches):
            return cls(started, 0, total, False)
        return cls(
            started - 1,
            done,
            total,
            not over and _is_under_way(trainer) and _comes_behind_this_batch(trainer),
        )

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any]) -> "Place | None":
        """What a checkpoint says; None for one of an older version.

        Raises:
            UserError: where it is damaged.
        """
        if PLACE not in checkpoint:
            return None
        try:
            place = cls(**checkpoint[PLACE])
        except TypeError as error:
            raise UserError(
                f"resume: the checkpoint's entry {PLACE} is damaged ({error})"
            ) from error
        numbers = (place.epoch, place.batches, place.total)
        if (
            not all(type(number) is int and number >= 0 for number in numbers)
            or type(place.validation_due) is not bool
        ):
            raise UserError(
                f"resume: the checkpoint's entry {PLACE} is damaged: {dict(place._asdict())}"
            )
        return place

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Into a checkpoint, with the loops' counters as they are there, whatever hook it is taken
        in."""
        checkpoint[PLACE] = self._asdict()
        checkpoint["epoch"] = self.epoch
        loops = checkpoint["loops"]["fit_loop"]
        started = self.epoch + bool(self.batches)
        for counts in _both(loops["epoch_progress"]):
            counts.update(
                ready=started, started=started, processed=self.epoch, completed=self.epoch
            )
        batches = loops["epoch_loop.batch_progress"]
        # not the next, already fetched
        trained = batches["current"]["ready"] == batches["current"]["processed"]
        batches["is_last_batch"] = batches["is_last_batch"] and trained and self.batches > 0
        for counts, number in zip(_both(batches), (self.total, self.batches), strict=True):
            counts.update(ready=number, started=number, processed=number, completed=number)
        for counts in _both(loops["epoch_loop.val_loop.batch_progress"]):
            counts.update(ready=0, started=0, processed=0, completed=0)
        for loader in loops["state_dict"].get("combined_loader", ()):
            # ours, which may have handed out one more, that is not trained on
            if "batches_done" in loader:
                loader.update(epoch=self.epoch, batches_done=self.batches)

    def go_on(self, trainer: Trainer) -> None:
        """Put the loops of a Trainer that has loaded such a checkpoint there. To be called when
        training starts."""
        loop, batches, validation = _loops(trainer)
        _load_what_the_loaders_said(trainer)
        within = 0 < self.batches <= trainer.num_training_batches
        if not within:  # or more batches than an epoch has now
            self._begin_epoch(trainer)
            return
        # `restarting` keeps the count of batches, and makes Lightning look at once whether a
        # validation comes first.
        loop._restarting = batches._restarting = True
        loop._restart_stage, batches._restart_stage = (
            EpochStage.RESTARTED_MID_EPOCH,
            BatchStage.RESTARTED_ON_LAST,
        )
        validation._restarting = self.validation_due
        validation._restart_stage = (
            ValidationStage.RESTARTED_MID_EVALUATION
            if self.validation_due
            else ValidationStage.NONE
        )
        at_the_end = self.batches == trainer.num_training_batches and not self.validation_due
        validation._has_run = at_the_end  # then only the hooks of the epoch's end are left
        looked_at = not at_the_end and _comes_behind_this_batch(trainer)  # that counts one batch
        batches._batches_that_stepped = self.total - looked_at

    def _begin_epoch(self, trainer: Trainer) -> None:
        epoch = self.epoch + bool(self.batches)
        loop, batches, validation = _loops(trainer)
        for counts in (loop.epoch_progress.total, loop.epoch_progress.current):
            counts.load_state_dict(
                {"ready": epoch, "started": epoch, "processed": epoch, "completed": epoch}
            )
        loop._restarting = batches._restarting = validation._restarting = False
        loop._restart_stage, batches._restart_stage = EpochStage.NONE, BatchStage.NONE
        validation._restart_stage = ValidationStage.NONE
        batches._batches_that_stepped = self.total


def forget_restart(trainer: Trainer) -> None:
    """To be called when an epoch starts: where only hooks were left of the one before, the loop of
    batches, which had nothing to do, still takes itself for restarted."""
    _, batches, _ = _loops(trainer)
    batches._restarting, batches._restart_stage = False, BatchStage.NONE


def _loops(trainer: Trainer) -> tuple[Any, Any, Any]:
    """Of epochs, of an epoch's batches, and of the validation in them."""
    return trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop


def _is_under_way(trainer: Trainer) -> bool:
    """Whether the hooks behind a batch, or those of a validation, are not all done."""
    _, batches, validation = _loops(trainer)
    if trainer.validating:
        return validation.batch_progress.current.completed < sum(validation.max_batches)
    return batches.batch_progress.current.completed < batches.batch_progress.current.processed


def _comes_behind_this_batch(trainer: Trainer) -> bool:
    """Whether a validation does, in a run that nobody stops here: Lightning makes one more where it
    is asked to stop."""
    stopping, trainer.should_stop = trainer.should_stop, False
    try:
        _, batches, _ = _loops(trainer)
        return bool(batches._should_check_val_fx(trainer.fit_loop._data_fetcher))
    finally:
        trainer.should_stop = stopping


def _load_what_the_loaders_said(trainer: Trainer) -> None:
    """Lightning leaves it out between two epochs, and then other data than before would not be
    noticed."""
    loop = trainer.fit_loop
    if loop._combined_loader_states_to_load and loop._combined_loader is not None:
        loop._combined_loader._load_state_dicts(loop._combined_loader_states_to_load)
        loop._combined_loader_states_to_load = []


def _both(progress: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return progress["total"], progress["current"]
