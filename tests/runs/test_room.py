"""A run on a disk that is full, or fills up."""

import threading
import time
from pathlib import Path

import pytest
import torch
from small_disk import fill, make_read_only, small_disk
from test_cli import fit

from blocklearn.runs.run_folder import RunFolder

LONG = ["--trainer.max_epochs=300", "--trainer.log_every_n_steps=1"]


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    return line


def test_a_full_or_read_only_disk_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path, 1_000_000) as disk:
        fill(disk)
        assert fit(disk / "run") == 1
        assert "cannot write" in (line := the_error(capsys))
        assert "needed" in line
        assert "free" in line
        assert not list(disk.rglob("*.ckpt"))
    (tmp_path / "other").mkdir()
    with small_disk(tmp_path / "other", 1_000_000) as disk:
        make_read_only(disk)
        assert fit(disk / "run") == 1
        assert "Read-only file system" in the_error(capsys)


def test_a_disk_that_fills_up_ends_the_run_in_a_line_and_leaves_the_checkpoint_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path, 2_000_000) as disk:
        last = RunFolder(disk / "run").last_checkpoint

        def fill_later() -> None:
            while not last.exists():
                time.sleep(0.01)
            fill(disk, leave=20_000)

        filling = threading.Thread(target=fill_later)
        filling.start()
        assert fit(disk / "run", *LONG) == 1
        filling.join()
        assert "cannot write" in (line := the_error(capsys))
        assert "free on its disk" in line
        assert torch.load(last, weights_only=True)["global_step"] % 3 == 0
        assert not list(disk.rglob("*unfinished"))
        rows = (disk / "run" / "metrics.csv").read_bytes()
        assert rows.endswith(b"\n")
        assert len({row.count(b",") for row in rows.splitlines()}) == 1
