"""A run goes on as if it had never stopped, whatever stopped it and whatever hook its state is
from."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.callbacks.last_checkpoint import LastCheckpoint
from blocklearn.interop.checkpoint_io import StreamingCheckpointIO
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.training.place import PLACE, Place
from blocklearn.training.schedule import SequentialSchedule
from blocklearn.training.unfinished import UNFINISHED

EPOCH = 4
HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
)
OF_THE_NETWORK = ("accumulate_batches", "schedule", "non_finite", "backbone_kwargs", "optimizer")
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "max_steps": {"max_steps": 3 * EPOCH - 1},
    "no validation": {"limit_val_batches": 0},
    "no validation, max_steps": {"limit_val_batches": 0, "max_steps": 3 * EPOCH - 1},
    "twice an epoch, updates across": {"val_check_interval": 2, "accumulate_batches": 3},
    "across epochs": {"check_val_every_n_epoch": None, "val_check_interval": 3},
    "every second epoch": {"check_val_every_n_epoch": 2},
    "short epochs": {"limit_train_batches": 3, "accumulate_batches": 2},
    "sequential": {"schedule": SequentialSchedule(), "accumulate_batches": 2},
    "skipping": {"non_finite": "skip", "accumulate_batches": 3},
    "dropout": {
        "backbone_kwargs": {
            "layers": [1, 1, 1, 1],
            "channels": [8, 8, 16, 16],
            "drop_path_rate": 0.4,
        }
    },
}


class Seen(Callback):
    """What was trained on, validated and ended, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(
            (trainer.current_epoch, trainer.global_step, batch_idx, batch.index.tolist())
        )

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.seen.append(("validated", trainer.global_step))

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self.seen.append(("epoch", trainer.current_epoch))


class SaveInEveryHook(Callback):
    """Saves the state, and notes how much had been seen."""

    def __init__(self, folder: Path, seen: Seen) -> None:
        self.folder, self.seen = folder, seen
        self.saved: list[tuple[Path, int]] = []
        for hook in HOOKS:
            setattr(self, hook, partial(self.save, hook))

    def save(self, hook: str, trainer: Trainer, *_: Any, **__: Any) -> None:
        path = self.folder / f"{len(self.saved):03d}_{hook}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self.saved.append((path, len(self.seen.seen)))


class Ask(Callback):
    """Asks the Trainer to stop, after so many batches."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


def train(
    folder: Path, *callbacks: Callback, resume: Path | None = None, **changes: Any
) -> tuple[Any, Trainer]:
    torch.manual_seed(0)
    own = {name: changes.pop(name) for name in OF_THE_NETWORK if name in changes}
    network = small_network(noise="all", lr_schedule=ConstantLR(), **own)
    settings: dict[str, Any] = {
        "max_epochs": 3,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "callbacks": list(callbacks),
        "plugins": [StreamingCheckpointIO()],
        "enable_checkpointing": any(
            isinstance(c, (LastCheckpoint, ModelCheckpoint)) for c in callbacks
        ),
    }
    trainer = small_trainer(folder, **{**settings, **changes})
    trainer.fit(
        network, datamodule=small_data(num_images=8 * EPOCH), ckpt_path=resume, weights_only=True
    )
    return weights(network), trainer


def last_of(folder: Path) -> tuple[LastCheckpoint, Path]:
    kept = LastCheckpoint(folder)
    return kept, kept.path


def resume_everywhere(folder: Path, shape: dict[str, Any], every: int) -> None:
    seen = Seen()
    states = SaveInEveryHook(folder, seen)
    expected, whole = train(folder, seen, states, **shape)
    for path, at in states.saved[::every]:
        again = Seen()
        found, trainer = train(folder, again, resume=path, **shape)
        if (
            trainer.global_step > Place(**torch.load(path, weights_only=True)[PLACE]).total
            or at < len(seen.seen) - 2
        ):
            assert seen.seen[:at] + again.seen == seen.seen, path.name
        assert same_weights(expected, found), path.name
        assert trainer.global_step == whole.global_step
        if again.seen:  # the loggers' count of steps
            counts = [t.fit_loop.epoch_loop._batches_that_stepped for t in (whole, trainer)]
            assert counts[0] == counts[1], path.name


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_state_of_any_hook_goes_on_to_the_same_batches_validations_and_weights(
    tmp_path: Path, shape: str
) -> None:
    resume_everywhere(tmp_path, SHAPES[shape], every=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_states_of_many_hooks_go_on_to_the_same_batches_validations_and_weights(
    tmp_path: Path, shape: str
) -> None:
    resume_everywhere(tmp_path, SHAPES[shape], every=7)


@pytest.mark.parametrize(
    "stops", [(EPOCH,), (3,), (2 * EPOCH, 2 * EPOCH + 1), (1, EPOCH, EPOCH + 2)]
)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_stopped_by_max_steps_goes_on_with_the_next_batch(
    tmp_path: Path, stops: tuple[int, ...], accumulate: int
) -> None:
    whole, pieces = Seen(), Seen()
    expected, _ = train(tmp_path, whole, max_steps=11, max_epochs=-1, accumulate_batches=accumulate)
    kept, path = last_of(tmp_path)
    for stop in (*stops, 11):
        state = path if path.exists() else None
        found, trainer = train(
            tmp_path,
            pieces,
            kept,
            resume=state,
            max_steps=stop,
            max_epochs=-1,
            accumulate_batches=accumulate,
        )
        assert trainer.global_step == stop
    assert same_weights(expected, found)
    trained = [what for what in pieces.seen if len(what) == 4]
    assert trained == [what for what in whole.seen if len(what) == 4]


def test_a_longer_max_steps_within_the_last_epoch_is_trained(tmp_path: Path) -> None:
    kept, path = last_of(tmp_path)
    train(tmp_path, kept, max_epochs=1, max_steps=2)
    _, trainer = train(tmp_path, kept, resume=path, max_epochs=1, max_steps=3)
    assert trainer.global_step == 3


@pytest.mark.parametrize("step", [3, EPOCH, EPOCH + 1])
@pytest.mark.parametrize("shape", ["plain", "twice an epoch, updates across", "sequential"])
def test_a_run_that_a_callback_stops_goes_on_as_if_it_had_not(
    tmp_path: Path, step: int, shape: str
) -> None:
    whole, first, second = Seen(), Seen(), Seen()
    expected, _ = train(tmp_path, whole, **SHAPES[shape])
    kept, path = last_of(tmp_path)
    train(tmp_path, first, Ask(step), kept, **SHAPES[shape])
    found, _ = train(tmp_path, second, kept, resume=path, **SHAPES[shape])
    assert same_weights(expected, found)
    trained = [what for what in first.seen + second.seen if len(what) == 4]
    assert trained == [what for what in whole.seen if len(what) == 4]


def test_a_run_whose_time_is_up_goes_on_when_it_is_given_more(tmp_path: Path) -> None:
    expected, _ = train(tmp_path)
    kept, path = last_of(tmp_path)
    _, trainer = train(tmp_path, Timer({"microseconds": 1}), kept)
    assert trainer.global_step == 1
    _, trainer = train(tmp_path, Timer({"microseconds": 1}), kept, resume=path)
    assert trainer.global_step == 1, "Lightning's Timer counts the time of all parts"
    found, _ = train(tmp_path, Timer({"hours": 1}), kept, resume=path)
    assert same_weights(expected, found)


def test_no_gradient_is_lost_to_a_validation_between_two_accumulated_batches(
    tmp_path: Path,
) -> None:
    without, _ = train(tmp_path, limit_val_batches=0, accumulate_batches=3)
    between, _ = train(tmp_path, val_check_interval=1, accumulate_batches=3)
    assert same_weights(without, between)


def test_no_gradient_is_kept_where_none_waits(tmp_path: Path) -> None:
    kept, path = last_of(tmp_path)
    train(tmp_path, kept, max_steps=3, accumulate_batches=3)
    assert torch.load(path, weights_only=True)[UNFINISHED] == []
    train(tmp_path, kept, max_steps=2, accumulate_batches=3)
    (waiting,) = torch.load(path, weights_only=True)[UNFINISHED]
    assert list(waiting["gradients"]) == ["block1", "block2", "block3", "block4"]


def test_a_run_in_float64_goes_on_in_float64(tmp_path: Path) -> None:
    expected, _ = train(tmp_path, precision="64-true")
    kept, path = last_of(tmp_path)
    train(tmp_path, kept, precision="64-true", max_steps=6)
    found, _ = train(tmp_path, kept, precision="64-true", resume=path)
    assert same_weights(expected, found)


def test_the_state_at_an_epochs_end_holds_what_other_callbacks_learned_from_it(
    tmp_path: Path,
) -> None:
    """EarlyStopping and ModelCheckpoint have their turn behind all others."""

    def patience() -> EarlyStopping:
        return EarlyStopping("block1/loss", patience=2, min_delta=100.0)

    whole = Seen()
    _, trainer = train(tmp_path, whole, patience(), max_epochs=9)
    assert trainer.current_epoch == 3
    kept, path = last_of(tmp_path)
    seen = Seen()
    train(tmp_path, seen, patience(), Ask(2 * EPOCH + 1), kept, max_epochs=9)
    train(tmp_path, seen, patience(), kept, resume=path, max_epochs=9)
    assert [what for what in seen.seen if len(what) == 4] == [
        what for what in whole.seen if len(what) == 4
    ]


def test_a_run_that_stopped_early_is_over_until_it_is_given_more_patience(tmp_path: Path) -> None:
    kept, path = last_of(tmp_path)
    settings: dict[str, Any] = {"max_epochs": 9}
    train(tmp_path, EarlyStopping("block1/loss", patience=1, min_delta=100.0), kept, **settings)
    _, trainer = train(
        tmp_path,
        EarlyStopping("block1/loss", patience=1, min_delta=100.0),
        kept,
        resume=path,
        **settings,
    )
    assert trainer.global_step == 2 * EPOCH
    _, trainer = train(
        tmp_path,
        EarlyStopping("block1/loss", patience=3, min_delta=100.0),
        kept,
        resume=path,
        **settings,
    )
    assert trainer.global_step == 4 * EPOCH


@pytest.mark.parametrize(
    "damage", [{"epoch": -1}, {"batches": "2"}, {"validation_due": 3}, {"more": 1}, {"total": True}]
)
def test_a_damaged_place_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="damaged"):
        Place.read({PLACE: {**Place(0, 1, 1, False)._asdict(), **damage}})
