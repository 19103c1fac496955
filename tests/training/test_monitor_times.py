"""A name that is logged is there when the callback looks, or it is told before training."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from small import same_weights, small_data, small_network, small_trainer, weights
from test_cli import SMALL

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.training.monitor_times import Rhythm, require_in_time
from blocklearn.training.schedule import SequentialSchedule

RHYTHM = Rhythm(batches=10, total=40, validates=True, every_n_epochs=1, interval=1.0, log_every=5)
WHOLE = [range(40)] * 4
IN_TURN = [range(10 * i, 10 * i + 10) for i in range(4)]


def check(callback: Callback, windows: list[range] = WHOLE, **changes: Any) -> None:
    require_in_time(small_network().walked, windows, [callback], RHYTHM._replace(**changes))


@pytest.mark.parametrize(
    ("callback", "windows", "changes"),
    [
        (EarlyStopping("block2/loss"), WHOLE, {}),
        (EarlyStopping("block2/val_loss"), IN_TURN, {}),
        (EarlyStopping("block2/loss", strict=False), [range(10, 40)] * 4, {}),
        (EarlyStopping("block2/loss"), WHOLE, {"validates": False}),
        (EarlyStopping("block2/on_diag"), WHOLE, {"interval": 5}),
        (EarlyStopping("block2/loss"), WHOLE, {"interval": 2}),
        (EarlyStopping("block1/val_loss", check_on_train_epoch_end=True), WHOLE, {}),
        (EarlyStopping("mine", check_on_train_epoch_end=True), WHOLE, {"every_n_epochs": 2}),
        (EarlyStopping("block1/val_loss"), WHOLE, {"every_n_epochs": None, "interval": 25}),
        (EarlyStopping("block1/val_loss"), WHOLE, {"interval": "00:00:10:00"}),
        (ModelCheckpoint(monitor="block1/loss"), IN_TURN, {}),
        (ModelCheckpoint(monitor="block1/val_loss"), WHOLE, {"every_n_epochs": 4}),
        (ModelCheckpoint(), IN_TURN, {"validates": False}),
    ],
)
def test_what_is_logged_when_it_is_asked_for_may_be_monitored(
    callback: Callback, windows: list[range], changes: dict[str, Any]
) -> None:
    check(callback, windows, **changes)


@pytest.mark.parametrize(
    ("callback", "windows", "changes", "told"),
    [
        (
            EarlyStopping("block2/loss"),
            IN_TURN,
            {},
            "only from batch 10 to 20 of 40; monitor block2/val_loss",
        ),
        (
            ModelCheckpoint(monitor="block2/lr"),
            IN_TURN,
            {},
            "only from batch 10 to 20 of 40; monitor block2/val_loss",
        ),
        (EarlyStopping("block1/loss", strict=False), IN_TURN, {}, "only from batch 0 to 10 of 40"),
        (EarlyStopping("block1/loss"), [range(39)] * 4, {}, "only from batch 0 to 39 of 40"),
        (
            EarlyStopping("block1/val_loss", check_on_train_epoch_end=True),
            WHOLE,
            {"every_n_epochs": 2},
            "not there yet at the end of the first epoch; leave check_on_train_epoch_end out",
        ),
        (
            EarlyStopping("block1/val_loss"),
            WHOLE,
            {"every_n_epochs": 5},
            "would come after 50 batches, and the run has 40",
        ),
        (
            ModelCheckpoint(monitor="block1/val_loss"),
            WHOLE,
            {"every_n_epochs": 5},
            "after 50 batches",
        ),
        (
            EarlyStopping("block1/loss"),
            WHOLE,
            {"validates": False, "every_n_epochs": 5},
            "but looks after validations, and there is none; set check_on_train_epoch_end: true",
        ),
        (EarlyStopping("block2/on_diag"), WHOLE, {"interval": 2}, "logged every 5 batches"),
    ],
)
def test_what_is_not_logged_when_it_is_asked_for_is_refused(
    callback: Callback, windows: list[range], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        check(callback, windows, **changes)


def test_in_python_it_is_refused_before_the_first_batch(tmp_path: Path) -> None:
    network = small_network(schedule=SequentialSchedule())
    before = weights(network)
    trainer = small_trainer(tmp_path, max_epochs=4, callbacks=[EarlyStopping("block2/loss")])
    with pytest.raises(UserError, match="block2 learns, and is logged, only from batch"):
        trainer.fit(network, datamodule=small_data())
    assert same_weights(before, weights(network))


@pytest.mark.parametrize("block", [1, 2])
def test_on_the_command_line_it_is_refused_before_there_is_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], block: int
) -> None:
    """Block 2 was 56 lines of traceback after an epoch; block 1 ended the run before the last
    blocks had learned."""
    changes = [
        "--trainer.callbacks+=EarlyStopping",
        f"--trainer.callbacks.monitor=block{block}/loss",
    ]
    changes += ["--model.schedule=SequentialSchedule", "--trainer.max_epochs=4"]
    assert main(["fit", *SMALL, *changes, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"block{block} learns, and is logged, only from batch" in line
    assert not (tmp_path / "run").exists()
