"""The scripts of docs/scaling.md, run as they are: under torchrun, and under stand-ins for SLURM's
commands."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from slurm_stand_in import job, options
from test_cli import SMALL, read_metrics

from blocklearn import BlockwiseModule
from blocklearn.runs.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
TORCHRUN = ROOT / "docs" / "scripts" / "train_torchrun.sh"
SLURM = ROOT / "docs" / "scripts" / "train_slurm.sh"
FLAGS = [
    *SMALL,
    "--trainer.accelerator=cpu",
    "--model.noise=none",
    "--data.num_workers=0",
    "--wandb.mode=disabled",
]
LONGER = [*FLAGS, "--trainer.max_epochs=3", "--trainer.limit_train_batches=8"]
BATCHES = 24
LIMIT = 120  # seconds


def strategy(name: str) -> list[str]:
    return [f"--trainer.strategy={name}", "--trainer.strategy.timeout_s=30"]


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@contextmanager
def started(script: Path, *flags: str, **variables: str) -> "Iterator[subprocess.Popen[str]]":
    """The script in a session of its own, which is ended whatever happens."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    binaries = Path(sys.executable).parent
    environment["PATH"] = f"{environment['PATH']}:{binaries}"
    process = subprocess.Popen(
        [str(script), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        workers = list(processes_of(variables["RUN"]))
        for pid in (process.pid, *workers):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.communicate()


def processes_of(run: str) -> Iterator[int]:
    """The processes of blocklearn that train into a folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if run.encode() in command and b"torchrun" not in b"".join(command[:2]):
            yield int(folder.name)


def of_rank(run: str, rank: int, name: str = "RANK") -> int:
    (found,) = (
        pid
        for pid in processes_of(run)
        if f"{name}={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    )
    return found


def end_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    return process.communicate(timeout=LIMIT)


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + LIMIT
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def assert_same_run(whole: Path, other: Path) -> None:
    first, second = (load_file(RunFolder(folder).backbone) for folder in (whole, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = [row["step"] for row in read_metrics(other)]
    assert steps == [row["step"] for row in read_metrics(whole)]


def plain(folder: Path, *flags: str) -> Path:
    """The run that nobody disturbs, started by the command itself."""
    command = [sys.executable, "-m", "blocklearn", "fit", *LONGER, *flags]
    done = subprocess.run(
        [*command, f"--trainer.default_root_dir={folder}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In one process."""
    return plain(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In two with half of every batch each."""
    folder = tmp_path_factory.mktemp("whole_of_two")
    return plain(folder, "--trainer.devices=2", *strategy("blockwise_ddp"))


@pytest.mark.parametrize(
    "name", ["block_parallel", pytest.param("blockwise_ddp", marks=pytest.mark.slow)]
)
def test_the_torchrun_script_leaves_one_run_folder_with_a_checkpoint(
    tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    where = {"DEVICES": "2", "RUN": str(run), "MASTER_PORT": free_port(), "RESTARTS": "0"}
    with started(TORCHRUN, *FLAGS, *strategy(name), **where) as process:
        told, complaints = end_of(process)
    assert process.returncode == 0, complaints
    assert told.count("Run folder:") == told.count("Trained:") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    BlockwiseModule.load_from_checkpoint(RunFolder(run).last_checkpoint)
    assert [row["step"] for row in read_metrics(run) if row["block4/loss"]] == ["0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("name", ["block_parallel", "blockwise_ddp"])
def test_a_rank_killed_under_the_torchrun_script_changes_no_weight(
    whole: Path, whole_of_two: Path, tmp_path: Path, name: str, nodes: int
) -> None:
    """With two nodes there are two torchruns, which meet at one of them. Only that of the killed
    rank counts a restart."""
    where = {"RUN": str(tmp_path), "MASTER_PORT": free_port()}
    where |= {"NODES": str(nodes), "DEVICES": str(2 // nodes)}
    flags = [*LONGER, *strategy(name)]
    with ExitStack() as all_nodes:
        first, *others = (
            all_nodes.enter_context(started(TORCHRUN, *flags, **where)) for _ in range(nodes)
        )
        wait_for(RunFolder(tmp_path).last_checkpoint, first)
        os.kill(of_rank(str(tmp_path), 1), signal.SIGKILL)
        told, complaints = end_of(first)
        told += "".join(end_of(node)[0] for node in others)
    assert first.returncode == 0, complaints
    assert told.count("Run folder:") == 2, "one start anew"
    assert_same_run(whole if name == "block_parallel" else whole_of_two, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rank"), [("block_parallel", 1), ("block_parallel", 0), ("blockwise_ddp", 1)]
)
def test_a_job_of_slurm_that_is_signalled_goes_on_to_the_same_weights(
    whole: Path, whole_of_two: Path, tmp_path: Path, name: str, rank: int
) -> None:
    run, slurm = tmp_path / "run", tmp_path / "slurm"
    slurm.mkdir()
    where = job(slurm, SLURM, 20000 + int(free_port()), nodes=2, ntasks_per_node=1)
    flags = [*LONGER, *strategy(name)]
    with started(SLURM, *flags, RUN=str(run), **where) as process:
        wait_for(run / "metrics.csv", process)
        tasks = (slurm / "tasks").read_text().split()
        assert of_rank(str(run), rank, "SLURM_PROCID") == int(tasks[rank])
        os.kill(int(tasks[rank]), signal.SIGUSR1)
        _, complaints = end_of(process)
    assert process.returncode == 143, complaints
    state = torch.load(RunFolder(run).last_checkpoint, weights_only=True)
    step = state["global_step"]
    assert 0 < step < BATCHES
    assert f"stopped by SIGUSR1 at batch {step}, its state is saved" in complaints
    assert (slurm / "asked").read_text() == f"requeue {where['SLURM_JOB_ID']}\n"
    with started(SLURM, *flags, RUN=str(run), **where) as process:
        _, complaints = end_of(process)
    assert process.returncode == 0, complaints
    assert_same_run(whole if name == "block_parallel" else whole_of_two, run)


def test_the_slurm_script_asks_for_a_task_a_device_and_a_signal_in_time() -> None:
    asked = options(SLURM)
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    assert asked["signal"] == "USR1@90"
    assert {"requeue", "open-mode"} <= asked.keys()
    assert asked["job-name"] not in ("bash", "interactive"), (
        "Lightning takes such a job for a shell"
    )


def test_scaling_shows_the_scripts_as_they_are() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    for script in (TORCHRUN, SLURM):
        shown = script.read_text().partition("set -eu\n")[2].strip()
        assert shown in page, f"docs/scaling.md shows another {script.name}"
