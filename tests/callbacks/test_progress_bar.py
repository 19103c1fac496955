"""What the terminal and a log show while a network trains."""

import os
import pty
import re
import sys
import textwrap
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from lightning.pytorch.trainer.connectors.logger_connector import _LoggerConnector
from small import small_data, small_network, small_trainer

from blocklearn.callbacks.pace import Pace, duration
from blocklearn.callbacks.progress_bar import BlockProgressBar
from blocklearn.callbacks.progress_figures import figure_lines

TESTS = Path(__file__).parents[1]


class Watched(BlockProgressBar):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.names: list[set[str]] = []

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        super().on_train_batch_end(trainer, *args)
        self.names.append(set(self.get_metrics(trainer, trainer.lightning_module)))


def test_losses_are_read_from_the_device_when_metrics_are_logged_and_shown_at_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar, read = Watched(), _LoggerConnector.progress_bar_metrics.fget

    def noted(self: _LoggerConnector) -> dict[str, float]:
        bar.steps.append(self.trainer.global_step)
        return read(self)

    monkeypatch.setattr(_LoggerConnector, "progress_bar_metrics", property(noted))
    trainer = small_trainer(
        tmp_path, log_every_n_steps=3, enable_progress_bar=True, callbacks=[bar]
    )
    trainer.fit(small_network(), datamodule=small_data(num_images=64))
    *within, end = bar.steps
    assert {step % 3 for step in within[2:]} == {0}
    assert end == 8, "and once at the end of the epoch"
    assert bar.names == [{f"block{k}/loss" for k in range(1, 5)}] * 8


def test_a_log_has_a_line_per_epoch_with_every_blocks_loss_and_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = small_trainer(
        tmp_path, max_epochs=3, enable_progress_bar=True, callbacks=[BlockProgressBar()]
    )
    trainer.fit(small_network(), datamodule=small_data())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    number = r"[\d.e+-]+"
    losses = ", ".join(rf"block{k} {number}" for k in range(1, 5))
    times = rf"{number} s/step, epoch in 0:\d\d, left: run 0:\d\d"
    for epoch, line in enumerate(lines, 1):
        assert re.fullmatch(rf"Epoch {epoch}/3: loss {losses}; {times}", line)
    trainer.validate(small_network(), datamodule=small_data(), verbose=False)
    assert not capsys.readouterr().out, "no batch was to be validated"


def test_another_process_than_the_first_shows_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = BlockProgressBar()
    bar.disable()
    trainer = small_trainer(tmp_path, enable_progress_bar=True, callbacks=[bar])
    trainer.fit(small_network(), datamodule=small_data())
    assert not capsys.readouterr().out


def test_on_a_terminal_of_80_columns_every_blocks_loss_and_the_times_are_there_at_the_end(
    tmp_path: Path,
) -> None:
    script = f"""
        from pathlib import Path
        from small import small_data, small_network, small_trainer
        from blocklearn.callbacks.progress_bar import BlockProgressBar
        trainer = small_trainer(
            Path({str(tmp_path)!r}),
            max_epochs=2, limit_val_batches=1, enable_progress_bar=True,
            callbacks=[BlockProgressBar()],
        )
        trainer.fit(small_network(), datamodule=small_data())
    """
    shown = on_terminal([sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)])
    *_, bar, blocks, losses = [line.rstrip() for line in shown.splitlines() if line.strip()]
    assert re.fullmatch(r"Epoch 2/2 ━+ 4/4 [\d.]+ s/step, 0:\d\d in all", bar)
    assert blocks.split() == ["block1", "block2", "block3", "block4"]
    assert re.fullmatch(r"loss( +[\d.]+){4}", losses)
    assert max(map(len, (bar, blocks, losses))) <= 80


def on_terminal(command: list[str]) -> str:
    """What a command leaves on a terminal of 80 x 24, colours and moves of the cursor left out: all
    frames, one after the other."""
    ours, theirs = pty.openpty()
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "TERM": "xterm", "COLUMNS": "80"}
    with Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
    os.close(ours)
    assert process.returncode == 0, written.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode()).replace("\r", "\n")


@pytest.mark.parametrize("count", [1, 4, 8, 16, 50])
def test_the_figures_of_so_many_blocks_fit_on_a_terminal(count: int) -> None:
    blocks = [f"block{k}" for k in range(1, count + 1)]
    metrics = {f"{b}/{name}": 12345.6 for name in ("loss", "knn", "probe") for b in blocks}
    lines = figure_lines(metrics, 80, 21)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 21
    text = " ".join(lines).split()
    assert next(word for word in text if word.startswith("block")) in ("block1", "block1/loss")
    assert text.count("1.235e+04") == (3 * count if count <= 16 else count)


def test_the_time_left_counts_what_is_done_between_batches_once_an_epoch_was_seen() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.begin_epoch()
    assert pace.left(20, 10) is None
    for _ in range(10):
        now[0] += 1
        pace.end_batch()
    assert (pace.seconds_per_step, pace.left(20, 10), pace.left_in_epoch(5)) == (1, 20, 5)
    now[0] += 10  # a validation
    assert pace.end_epoch() == 20
    assert pace.left(20, 10) == 40
    assert pace.left(float("inf"), 10) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "?"), (7.4, "0:07"), (3599.6, "1:00:00"), (11_052, "3:04:12"), (187_200, "2 d 04 h")],
)
def test_durations_are_short(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told
