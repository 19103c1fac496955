"""The command line in processes of their own: what ends them, and what they ask of their
surroundings."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_cli import SMALL, fit


def run_alone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "blocklearn", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        check=False,
    )


def test_version_is_quick_and_plain() -> None:
    done = run_alone("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("blocklearn ")


@pytest.mark.slow
def test_the_demo_ends_in_one_table_and_one_picture(tmp_path: Path) -> None:
    done = run_alone("demo", f"--default_root_dir={tmp_path}", "--max_epochs=1")
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("Linear probes on digits, top-1") :]
    assert [table.count(f"│ {name}") for name in ("random", "end-to-end", "blockwise")] == [2] * 3
    assert [table.count(f"{k} layer{k}") for k in range(1, 5)] == [2] * 4
    assert (tmp_path / "accuracy_by_block.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((tmp_path / "results.json").read_text())
    assert {name: len(rows) for name, rows in results.items()} == {
        "random": 8,
        "end-to-end": 5,
        "blockwise": 8,
    }
    again = run_alone("demo", f"--default_root_dir={tmp_path}", "--max_epochs=1")
    assert f"{tmp_path / 'blockwise'} is finished" in again.stdout
    other = run_alone("demo", f"--default_root_dir={tmp_path}", "--seeds=2")
    assert "holds a demo that was made with" in other.stderr


@pytest.mark.slow
def test_the_demo_of_several_seeds_tells_mean_and_deviation(tmp_path: Path) -> None:
    done = run_alone("demo", f"--default_root_dir={tmp_path}", "--max_epochs=1", "--seeds=2")
    assert done.returncode == 0, done.stderr
    assert "mean ± sd of 2 seeds (* best)" in done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["blockwise"]
    assert [len(seed) for seed in rows] == [8, 8]
    assert rows[0] != rows[1]


@pytest.mark.slow
def test_weights_and_biases_is_offline_without_a_key_and_never_asks(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "blocklearn", "fit", *SMALL, f"--trainer.default_root_dir={folder}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    longer = ["--trainer.max_epochs=6", "--trainer.limit_train_batches=10"]
    assert fit(whole, *longer) == 0
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "blocklearn",
            "fit",
            *SMALL,
            *longer,
            f"--trainer.default_root_dir={killed}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as here: sums in another order are other sums
    )
    checkpoint = killed / "checkpoints" / "last.ckpt"
    for _ in range(600):
        if checkpoint.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "backbone.safetensors").exists(), "it ended before it was killed"
    assert fit(killed, *longer, "--ckpt_path=last") == 0
    first, second = (load_file(folder / "backbone.safetensors") for folder in (whole, killed))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, name: str, status: int) -> None:
    long = ["--trainer.max_epochs=2000", f"--trainer.default_root_dir={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "blocklearn", "fit", *SMALL, *long, "--wandb.mode=disabled"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a job in the background would ignore it
    )
    while not (tmp_path / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Trained:" not in printed
    (line,) = complaints.strip().splitlines()
    assert line.startswith(
        "blocklearn: interrupted; to go on from the last checkpoint, repeat the command with "
    )
    assert line.endswith(f"--trainer.default_root_dir {tmp_path} --ckpt_path last")
    assert not (tmp_path / "backbone.safetensors").exists()


def test_a_file_in_the_working_folder_takes_no_librarys_place(tmp_path: Path) -> None:
    for name in ("yaml", "torch", "timm", "difflib", "safetensors", "tensorboard"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'OWNED')!r}, 'w')\n")
    for arguments in (
        ["--version"],
        ["fit", "--config=nowhere.yaml"],
        ["compare", "a=b"],
        ["export", "nothing.ckpt"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "blocklearn", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (0 if arguments == ["--version"] else 1), done.stderr
    assert not (tmp_path / "OWNED").exists()
