"""Runs in processes of their own that are stopped, killed and started again, as schedulers do
it."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_cli import SMALL, read_metrics

from blocklearn.runs.run_folder import RunFolder

BATCHES, EPOCHS = 8, 3
LONGER = [
    *SMALL,
    f"--trainer.max_epochs={EPOCHS}",
    f"--trainer.limit_train_batches={BATCHES}",
    "--trainer.limit_val_batches=2",
    "--model.noise=all",
    "--trainer.accelerator=cpu",
    "--wandb.mode=disabled",
]
TWO = ["--trainer.devices=2", "--data.num_workers=0"]
CHAIN = [*TWO, "--trainer.strategy=block_parallel"]
WAYS = {"data parallel": TWO, "block-parallel": CHAIN}


def start(folder: Path, *changes: str, under: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    command = [
        *(under or (sys.executable,)),
        "-m",
        "blocklearn",
        "fit",
        *LONGER,
        f"--trainer.default_root_dir={folder}",
    ]
    return subprocess.Popen(
        [*command, "--resume=auto", *changes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as here: sums in another order are other sums
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a background job would ignore it
        start_new_session=True,
    )


def has_learned(folder: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until the first metrics are written."""
    while process.poll() is None and not (folder / "metrics.csv").exists():
        time.sleep(0.01)


def child_of(process: "subprocess.Popen[str]") -> int:
    """The other rank, which rank 0 started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (rank1,) = [
        int(child)
        for child in children
        if b"blocklearn" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return rank1


def assert_same_run(whole: Path, other: Path) -> None:
    first, second = (load_file(RunFolder(folder).backbone) for folder in (whole, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [row["step"] for row in read_metrics(other)] == [
        row["step"] for row in read_metrics(whole)
    ]


def finish(process: "subprocess.Popen[str]") -> None:
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder))
    return folder


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def whole_of_two(way: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole_of_two")
    finish(start(folder, *WAYS[way]))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(20))
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 143)])
def test_a_signal_at_any_moment_loses_no_batch(
    whole: Path, tmp_path: Path, name: str, status: int, turn: int
) -> None:
    process = start(tmp_path)
    has_learned(tmp_path, process)
    time.sleep(random.Random(turn).random() * 1.5)
    process.send_signal(getattr(signal, name))
    _, complaints = process.communicate(timeout=60)
    state = torch.load(RunFolder(tmp_path).last_checkpoint, weights_only=True)
    if process.returncode == -getattr(signal, name):  # between the end of training and its own
        assert state["global_step"] == EPOCHS * BATCHES
        finish(start(tmp_path))
    elif process.returncode:  # it had not ended by itself
        assert process.returncode == status
        (line,) = complaints.strip().splitlines()
        assert line.startswith(
            f"blocklearn: stopped by {name} at batch {state['global_step']}, its state is saved; "
            "to go on"
        )
        assert line.endswith(f"--trainer.default_root_dir {tmp_path} --resume auto")
        assert not RunFolder(tmp_path).backbone.exists()
        finish(start(tmp_path))
    assert_same_run(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_to_either_of_two_processes_ends_both_at_one_batch(
    whole_of_two: Path, way: str, tmp_path: Path, name: str, rank: int, turn: int
) -> None:
    process = start(tmp_path, *WAYS[way])
    has_learned(tmp_path, process)
    time.sleep(random.Random(turn).random())
    os.kill(child_of(process) if rank else process.pid, getattr(signal, name))
    _, complaints = process.communicate(timeout=60)
    if process.returncode:
        assert process.returncode == 143, complaints
        assert (
            complaints.strip()
            .splitlines()[-1]
            .startswith(f"blocklearn: stopped by {name} at batch")
        )
        finish(start(tmp_path, *WAYS[way]))
    assert_same_run(whole_of_two, tmp_path)


BLOCKS = {"data parallel": ("", ""), "block-parallel": (", which trains block1", "block4")}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("turn", range(10))
def test_a_rank_that_is_killed_is_named_with_its_blocks_and_takes_the_others_with_it(
    whole_of_two: Path, way: str, tmp_path: Path, rank: int, turn: int
) -> None:
    process = start(tmp_path, *WAYS[way])
    has_learned(tmp_path, process)
    time.sleep(random.Random(turn).random())
    if process.poll() is not None:
        pytest.skip("it was faster")
    other = child_of(process)
    os.kill(other if rank else process.pid, signal.SIGKILL)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode != 0
    last = complaints.strip().splitlines()[-1]
    assert last.startswith("blocklearn: error: ")
    assert f"rank {rank}{BLOCKS[way][0] if not rank else ''}" in last
    assert BLOCKS[way][1] in last
    assert f"(process {other if rank else process.pid}" in last
    assert "start the same command again with --resume auto" in last
    assert "Traceback" not in complaints
    finish(start(tmp_path, *WAYS[way]))
    assert_same_run(whole_of_two, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_ends_the_job_within_its_timeout_and_is_named(
    way: str, tmp_path: Path, rank: int
) -> None:
    process = start(tmp_path, *WAYS[way], "--trainer.strategy.timeout_s=5")
    has_learned(tmp_path, process)
    time.sleep(0.5)  # DistributedDataParallel's own broadcast in its second batch has no timeout
    other = child_of(process)
    hung = other if rank else process.pid
    os.kill(hung, signal.SIGSTOP)
    began = time.monotonic()
    _, complaints = process.communicate(timeout=60)
    assert time.monotonic() - began < 40
    assert process.returncode != 0
    told = [line for line in complaints.splitlines() if line.startswith("blocklearn: error: ")]
    assert any(f"rank {rank}" in line and "no longer answered" in line for line in told)
    assert "Traceback" not in complaints


@pytest.mark.slow
def test_torchrun_starts_a_killed_rank_again_and_the_run_ends_as_if_nothing_had_been(
    whole_of_two: Path, way: str, tmp_path: Path
) -> None:
    torchrun = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--max-restarts=2",
        "--standalone",
    )
    process = start(tmp_path, *WAYS[way], under=torchrun)
    while not RunFolder(tmp_path).last_checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.05)
    workers = [
        int(child)
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    ranks = [
        worker
        for worker in workers
        if b"blocklearn" in Path(f"/proc/{worker}/cmdline").read_bytes()
    ]
    os.kill(ranks[-1], signal.SIGKILL)
    finish(process)
    assert_same_run(whole_of_two, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(10))
def test_a_run_killed_again_and_again_ends_as_if_nothing_had_been(
    whole: Path, tmp_path: Path, turn: int
) -> None:
    for kill in range(3):
        process = start(tmp_path)
        has_learned(tmp_path, process)
        time.sleep(random.Random(10 * turn + kill).random() * 1.5)
        process.kill()
        process.communicate()
    finish(start(tmp_path))
    first, second = (load_file(RunFolder(folder).backbone) for folder in (whole, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not list(tmp_path.rglob("*unfinished"))
