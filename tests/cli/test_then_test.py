"""`fit --then_test true`: a run is tested when it has come to its end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import small_network
from test_cli import SMALL, fit, read_metrics

from blocklearn.cli.then_test import Place, alone, figures, places
from blocklearn.evaluation import Row
from blocklearn.reporting.results import Results


def results(*rows: tuple[str, str, float]) -> Results:
    found = [
        Row(stage, k, feature, {"top1": value, "top5": 100.0})
        for k, (stage, feature, value) in enumerate(rows, 1)
    ]
    return Results("c", "digits", None, 10, {}, found)


def test_every_block_has_the_accuracy_of_its_last_stage() -> None:
    found = figures(
        results(("layer1", "raw", 1), ("layer2", "raw", 2), ("layer2", "head", 3)),
        [Place("block1", "layer2")],
    )
    assert found["probe/block1"] == found["probe/last"] == 2
    assert found["probe/layer1/raw/top1"] == 1
    assert found["probe/layer2/head/top5"] == 100


def test_a_block_without_a_stage_has_the_accuracy_of_what_it_publishes() -> None:
    blocks = [Place("block1", "conv5"), Place("block2", "conv5", ["context"])]
    shared = results(("conv5", "raw", 1), ("conv5", "context", 2))
    assert [figures(shared, blocks)[f"probe/block{k}"] for k in (1, 2)] == [1, 2]
    own = results(("conv5", "raw", 1), ("conv5", "context", 2), ("conv5.block2", "context", 3))
    assert figures(own, blocks)["probe/block2"] == 3


def test_a_block_without_a_global_average_has_the_accuracy_of_what_there_is() -> None:
    found = figures(results(("layer4", "finetuned", 9)), [Place("block4", "layer4")])
    assert found["probe/block4"] == found["probe/last"] == 9


def test_the_test_is_no_process_of_a_group() -> None:
    group = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "SLURM_NTASKS": "2"}
    trial = {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_MODE": "online"}
    found = alone({**group, **trial, "TORCHELASTIC_RUN_ID": "x", "CUDA_VISIBLE_DEVICES": "3"})
    assert found.pop("BLOCKLEARN_PARENT") == str(os.getpid())
    assert found == {"CUDA_VISIBLE_DEVICES": "3", "WANDB_MODE": "disabled"}


def test_what_keeps_no_checkpoint_is_not_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = "--then_test=true"
    assert fit(tmp_path / "one", then, "--trainer.enable_checkpointing=false") == 1
    assert "--then_test true needs the checkpoint" in capsys.readouterr().err
    assert fit(tmp_path / "two", then, "--trainer.fast_dev_run=true") == 0
    assert "Nothing to test" in capsys.readouterr().out


def test_a_run_that_has_ended_goes_straight_to_the_test_that_is_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path) == 0
    before = (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    again = ["--resume=auto", "--then_test=true"]
    assert fit(tmp_path, *again) == 0
    printed = capfd.readouterr().out
    assert "Nothing left to do" in printed
    assert "Next: blocklearn test" not in printed.partition("Nothing left to do")[2]
    table = tmp_path / "probe" / "results.json"
    tested = table.stat().st_mtime_ns
    top1 = json.loads(table.read_text())["rows"][-2]["top1"]
    assert float(read_metrics(tmp_path)[-1]["probe/last"]) == pytest.approx(top1)
    assert fit(tmp_path, *again) == 0
    assert "Tested before" in capfd.readouterr().out
    assert table.stat().st_mtime_ns == tested
    assert (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    tests = [row for row in read_metrics(tmp_path) if row["probe/last"]]
    assert len(tests) == 1, "the figures of a test are logged once"
    assert "then_test" not in (tmp_path / "config.yaml").read_text()


def test_places_follow_the_blocks_of_a_network() -> None:
    found = [place[:2] for place in places(small_network())]
    assert found == [(f"block{k}", f"layer{k}") for k in range(1, 5)]


def started(folder: Path, *flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "blocklearn", "fit", *SMALL, "--then_test=true", *flags]
    return subprocess.Popen(
        [*command, f"--trainer.default_root_dir={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGKILL", -9)])
def test_a_signal_in_the_test_ends_it_and_the_run_can_go_on(
    tmp_path: Path, name: str, status: int
) -> None:
    process = started(tmp_path, "--probe.epochs=100000")
    end = time.monotonic() + 120
    while not (tests := children_of(process.pid)):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(3)
    process.send_signal(getattr(signal, name))
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == status, printed
    if name != "SIGKILL":
        assert f"stopped by {name}" in printed
        assert "--resume auto" in printed
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in tests):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert not (tmp_path / "probe" / "results.json").exists()
    assert fit(tmp_path, "--resume=auto", "--then_test=true") == 0
    assert (tmp_path / "probe" / "results.json").exists()


@pytest.mark.slow
def test_a_run_of_two_processes_is_tested_too(tmp_path: Path) -> None:
    process = started(tmp_path, "--trainer.accelerator=cpu", "--trainer.devices=2")
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0, printed
    assert read_metrics(tmp_path)[-1]["probe/last"]


def children_of(pid: int) -> list[int]:
    """Those that run `blocklearn test`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            command = (place / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if parent == pid and b"test" in command:
            found.append(int(place.name))
    return found
