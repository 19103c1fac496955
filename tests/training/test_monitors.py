"""Names that callbacks monitor are checked before training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from small import same_weights, small_data, small_network, small_trainer, weights
from test_cli import SMALL

from blocklearn import BlockwiseModule, UserError
from blocklearn.__main__ import main
from blocklearn.training.monitors import require_monitors


class Own(Callback):
    """Logs a metric of its own."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        pl_module.log("mine", 1.0)


def check(
    *callbacks: Callback, validates: bool = True, network: BlockwiseModule | None = None
) -> list[str]:
    return require_monitors(network or small_network(), callbacks, small_data(), validates)


@pytest.mark.parametrize(
    "name",
    ["block1/loss", "block4/val_loss", "block2/lr", "block3/on_diag", "block3/val_off_diag"],
)
def test_what_the_walk_logs_may_be_monitored(name: str) -> None:
    assert check(EarlyStopping(name), ModelCheckpoint(monitor=name)) == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("blok1/loss", "block1/loss"),
        ("block1/on_dag", "block1/on_diag"),
        ("block3/valloss", "block3/val_loss"),
    ],
)
@pytest.mark.parametrize("kind", [EarlyStopping, ModelCheckpoint])
def test_a_monitor_that_does_not_exist_is_refused_with_the_likeliest_that_does(
    kind: Any, name: str, near: str
) -> None:
    with pytest.raises(
        UserError,
        match=f"{kind.__name__} monitors {name}, which is not logged; did you mean {near}?",
    ):
        check(kind(monitor=name))


def test_the_names_there_are_are_listed() -> None:
    with pytest.raises(
        UserError,
        match=r"zzz, which is not logged\. There are block1/loss, block1/lr, .* and 16 more",
    ):
        check(EarlyStopping("zzz"))


def test_a_metric_of_a_validation_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="not logged: there is no validation"):
        check(EarlyStopping("block1/val_loss"), validates=False)


def test_skipped_updates_may_be_monitored_where_they_are_skipped() -> None:
    assert check(EarlyStopping("block1/skipped"), network=small_network(non_finite="skip")) == []
    with pytest.raises(UserError, match="block1/skipped, which is not logged"):
        check(EarlyStopping("block1/skipped"))


def test_what_a_part_of_the_users_own_may_log_is_let_pass_and_told() -> None:
    (line,) = check(EarlyStopping("mine"), Own())
    assert line == "EarlyStopping monitors mine, which blocklearn does not log; it is left to Own"

    class Mine(BlockwiseModule):
        pass

    network = small_network()
    network.__class__ = Mine
    assert len(check(EarlyStopping("mine"), network=network)) == 1
    assert check(EarlyStopping("mine", strict=False)) == []


def test_looking_for_names_changes_nothing(tmp_path: Path) -> None:
    def train(name: str) -> Any:
        torch.manual_seed(0)
        network = small_network(noise="all")
        small_trainer(tmp_path, callbacks=[EarlyStopping(name)]).fit(
            network, datamodule=small_data()
        )
        return weights(network)

    assert same_weights(train("block1/loss"), train("block1/on_diag"))


def test_in_python_it_is_refused_before_the_first_batch(tmp_path: Path) -> None:
    network = small_network()
    before = weights(network)
    with pytest.raises(UserError, match="did you mean block1/loss"):
        small_trainer(tmp_path, callbacks=[EarlyStopping("block1/los")]).fit(
            network, datamodule=small_data()
        )
    assert same_weights(before, weights(network))


def test_on_the_command_line_it_is_refused_before_there_is_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 7: an epoch was trained, then 61 lines of traceback."""
    monitor = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val_loss"]
    assert main(["fit", *SMALL, *monitor, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "EarlyStopping monitors val_loss, which is not logged; did you mean block" in line
    assert not (tmp_path / "run").exists()


def test_without_a_data_module_a_name_begins_with_a_block(tmp_path: Path) -> None:
    """The objectives' own metrics are then unknown."""
    data = small_data()
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader()
    for name in ("block1/loss", "block1/on_diag"):
        small_trainer(tmp_path, callbacks=[EarlyStopping(name)]).fit(small_network(), *loaders)
    with pytest.raises(UserError, match="did you mean block1/loss"):
        small_trainer(tmp_path, callbacks=[EarlyStopping("blok1/loss")]).fit(
            small_network(), *loaders
        )


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_names_are_looked_for_in_the_precision_of_the_run(tmp_path: Path, precision: Any) -> None:
    trainer = small_trainer(
        tmp_path, callbacks=[EarlyStopping("block1/on_diag")], precision=precision
    )
    trainer.fit(small_network(optimizer=torch.optim.SGD), datamodule=small_data())
    assert trainer.global_step == 4


def test_what_the_monitor_of_learning_rates_logs_may_be_monitored() -> None:
    assert check(EarlyStopping("lr-AdamW"), LearningRateMonitor()) == []
    with pytest.raises(UserError, match="lr-AdamW, which is not logged"):
        check(EarlyStopping("lr-AdamW"))
