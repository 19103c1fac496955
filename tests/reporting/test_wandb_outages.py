"""W&B against real servers in bad health, with its process killed, and on a full disk: the run goes
on, the person is told once, and what was logged can be uploaded later."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from reporting.wandb_server import KEY, WandbServer, wandb_server
from small_disk import fill, make_read_only, small_disk

from blocklearn.reporting import wandb_logger, wandb_start
from blocklearn.reporting.loggers import WandbSettings, build_wandb, finish_wandb
from blocklearn.reporting.wandb_logger import PatientWandbLogger
from blocklearn.reporting.wandb_service import _service


@pytest.fixture
def server(wandb_key: pytest.MonkeyPatch) -> Any:
    with wandb_server() as healthy:
        wandb_key.setenv("WANDB_BASE_URL", healthy.url)
        yield healthy


def build(folder: Path, job: str = "fit", resume: bool = False) -> PatientWandbLogger:
    logger = build_wandb(WandbSettings(), folder, {"seed": 0}, job, resume)
    assert isinstance(logger, PatientWandbLogger)
    return logger


WIDE = {
    f"a_metric_with_a_long_name_{number}": 1 / 3 for number in range(60)
}  # 3 kB; W&B writes blocks of 32 kB


def log(logger: PatientWandbLogger, steps: range, more: dict[str, float] | None = None) -> None:
    for step in steps:
        logger.log_metrics({"loss": step / 2, **(more or {})}, step)


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines on stderr, without the address of the run."""
    return [
        line
        for line in capsys.readouterr().err.splitlines()
        if not line.startswith("blocklearn: W&B: http")
    ]


def assert_says_how_to_sync(line: str, folder: Path) -> list[str]:
    command = shlex.split(line.partition("; to upload it: ")[2])
    assert line.startswith("blocklearn: ")
    assert command[:3] == ["wandb", "sync", "--include-online"]
    assert command[3:]
    assert all(
        Path(place).parent == folder / "wandb" and list(Path(place).glob("*.wandb"))
        for place in command[3:]
    )
    return command


def synced(command: list[str]) -> WandbServer:
    """What a healthy server has once the command that the person was told was run."""
    with wandb_server() as healthy:
        environment = {
            **os.environ,
            "WANDB_BASE_URL": healthy.url,
            "WANDB_API_KEY": KEY,
            "WANDB_SILENT": "false",
        }
        command = [str(Path(sys.executable).with_name("wandb")), *command[1:]]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr, done.stderr
        return healthy


def logged_steps(healthy: WandbServer, run: str) -> list[int]:
    return [row["trainer/global_step"] for row in healthy.history(run)]


def kill_service() -> None:
    process = _service()
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("failed", [False, True])
def test_the_end_of_a_run_is_recorded_with_its_exit_code(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], failed: bool
) -> None:
    logger = build(tmp_path)
    log(logger, range(3))
    finish_wandb([logger], failed)
    finish_wandb([logger], not failed)
    (run,) = {variables["name"] for variables in server.runs}
    assert logged_steps(server, run) == [0, 1, 2]
    assert server.exit_codes(run) == [int(failed)]
    assert told(capsys) == []


def test_a_run_that_lightning_saw_fail_is_recorded_as_failed(
    server: WandbServer, tmp_path: Path
) -> None:
    logger = build(tmp_path)
    logger.finalize("failed")
    logger.finish()
    assert server.exit_codes(str(logger.version)) == [1]


@pytest.mark.parametrize("health", ["silent", "closed", "error"])
def test_a_server_that_is_not_there_means_offline_at_once(
    wandb_key: pytest.MonkeyPatch,
    silent_server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    health: str,
) -> None:
    wandb_key.setattr(wandb_start, "REACH", 0.5)
    with wandb_server(status=500) as broken:
        urls = {"silent": silent_server, "closed": "http://127.0.0.1:9", "error": broken.url}
        wandb_key.setenv("WANDB_BASE_URL", urls[health])
        began = time.monotonic()
        logger = build(tmp_path)
        log(logger, range(3))
        finish_wandb([logger], False)
        assert time.monotonic() - began < 80  # W&B's own patience is 90 s
    (line,) = told(capsys)
    assert urls[health] in line
    assert_says_how_to_sync(line, tmp_path)


def test_a_server_that_answers_only_whether_it_is_there_means_offline(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb_key.setattr(wandb_logger, "START", 3.0)
    with wandb_server(delay=600, prompt=True) as slow:
        wandb_key.setenv("WANDB_BASE_URL", slow.url)
        logger = build(tmp_path)
        log(logger, range(3))
        finish_wandb([logger], False)
    (line,) = told(capsys)
    assert logged_steps(synced(assert_says_how_to_sync(line, tmp_path)), str(logger.version)) == [
        0,
        1,
        2,
    ]


def test_uploads_that_never_finish_are_left_for_later(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb_key.setattr(wandb_logger, "END", 4.0)
    with wandb_server(uploads=False) as stuck:
        wandb_key.setenv("WANDB_BASE_URL", stuck.url)
        logger = build(tmp_path)
        log(logger, range(3))
        began = time.monotonic()
        finish_wandb([logger], True)
        assert time.monotonic() - began < 60  # it would wait without an end
    (line,) = told(capsys)
    healthy = synced(assert_says_how_to_sync(line, tmp_path))
    assert logged_steps(healthy, str(logger.version)) == [0, 1, 2]
    assert healthy.exit_codes(str(logger.version)) == [1]


def test_a_run_whose_service_is_killed_goes_on_offline_and_loses_nothing(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = build(tmp_path)
    log(logger, range(30), WIDE)
    time.sleep(0.5)
    kill_service()
    log(logger, range(30, 40))
    finish_wandb([logger], False)
    (line,) = told(capsys)
    command = assert_says_how_to_sync(line, tmp_path)
    healthy = synced(command)
    assert set(logged_steps(healthy, str(logger.version))) == set(range(40))
    assert healthy.exit_codes(str(logger.version))[-1] == 0
    numbers = [row["_step"] for row in healthy.history(str(logger.version))]
    assert numbers == sorted(set(numbers)), "W&B drops a batch whose number it has had"


def test_a_service_that_is_killed_at_the_very_end_is_noticed(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = build(tmp_path)
    log(logger, range(5))
    time.sleep(0.3)
    kill_service()
    time.sleep(0.2)
    finish_wandb([logger], False)
    (line,) = told(capsys)
    assert set(
        logged_steps(synced(assert_says_how_to_sync(line, tmp_path)), str(logger.version))
    ) == set(range(5))


def test_whatever_is_raised_ends_wandb_only_and_is_told_once(
    server: WandbServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def fail(run: Any, *_: Any, **__: Any) -> None:
        tried.append(1)
        raise SystemExit(3)

    logger = build(tmp_path)
    monkeypatch.setattr("wandb.Run.log", fail)
    log(logger, range(5))
    logger.log_table("table", ["a"], [[1]])
    logger.log_image("picture", [str(tmp_path / "none.png")])
    logger.finalize("success")
    logger.finish()
    (line,) = told(capsys)
    assert "nothing more is sent to it" in line
    assert len(tried) == 2, "the run online, and the one offline"


def test_a_run_that_goes_on_is_the_same_run(server: WandbServer, tmp_path: Path) -> None:
    for steps, resume in ((range(3), False), (range(3, 5), True)):
        logger = build(tmp_path, resume=resume)
        log(logger, steps)
        finish_wandb([logger], False)
    assert logged_steps(server, str(logger.version)) == [0, 1, 2, 3, 4]
    assert [row["_step"] for row in server.history(str(logger.version))] == [0, 1, 2, 3, 4]


def test_a_run_that_goes_on_offline_after_a_crash_is_put_together_by_wandb_sync(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wandb_key.setenv("WANDB_MODE", "offline")
    first = build(tmp_path)
    log(first, range(30), WIDE)
    time.sleep(0.5)
    (place,) = (tmp_path / "wandb").glob("offline-run-*")
    (crashed,) = place.glob("*.wandb")
    cut = crashed.read_bytes()  # as a crash would leave it now
    finish_wandb([first], False)
    crashed.write_bytes(cut)
    time.sleep(1)  # W&B's folders are named by the second
    second = build(tmp_path, resume=True)
    log(second, range(5, 40))
    finish_wandb([second], False)
    assert second.version == first.version
    places = sorted(str(path) for path in (tmp_path / "wandb").glob("offline-run-*"))
    healthy = synced(["wandb", "sync", *places])
    assert set(logged_steps(healthy, str(second.version))) == set(range(40))
    numbers = [row["_step"] for row in healthy.history(str(second.version))]
    assert numbers == sorted(set(numbers)), "W&B drops a batch whose number it has had"


def test_a_new_run_and_a_test_have_ids_of_their_own(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wandb_key.setenv("WANDB_MODE", "offline")
    wandb_key.setattr(PatientWandbLogger, "start", lambda *_: None)
    first, probe, resumed, anew = (
        build(tmp_path, job, resume)
        for job, resume in (("fit", False), ("test", True), ("fit", True), ("fit", False))
    )
    assert resumed.version == first.version
    assert len({first.version, probe.version, anew.version}) == 3
    assert (tmp_path / "wandb" / "run_id").read_text() == f"{anew.version}\n"


def test_without_a_key_it_is_offline_and_asks_nobody(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb_key.setenv("WANDB_MODE", "online")
    wandb_key.delenv("WANDB_API_KEY")
    wandb_key.setattr(PatientWandbLogger, "start", lambda self, _: self._places.append("here"))
    logger = build(tmp_path)
    assert logger._wandb_init["mode"] == "offline"
    (line,) = told(capsys)
    assert line.startswith("blocklearn: no key of W&B is known. The run is kept offline in here")


def test_tables_and_pictures_reach_it_however_busy_it_is_when_the_run_ends(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wandb_key.setenv("WANDB_MODE", "offline")
    picture = tmp_path / "picture.png"
    Image.new("RGB", (4, 4)).save(picture)
    logger = build(tmp_path)
    logger._in_thread.do(lambda: time.sleep(0.5))
    logger.log_table("probe/results", ["stage", "top1"], [["layer1", 50.0]])
    logger.log_image("probe/accuracy", [str(picture)])
    logger.finish()
    kept = {path.suffix for path in tmp_path.glob("wandb/*run-*/files/media/*/probe/*")}
    assert kept == {".json", ".png"}


@pytest.mark.parametrize("state", ["full", "read-only", "link"])
def test_where_its_folder_cannot_be_written_the_run_goes_on_without_it(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    wandb_key.setenv("WANDB_MODE", "offline")
    with small_disk(tmp_path, 1 << 16) as disk:
        if state == "full":
            (disk / "wandb").mkdir()
            fill(disk)
        elif state == "read-only":
            make_read_only(disk)
        else:
            (disk / "wandb").symlink_to(tmp_path)
        assert build_wandb(WandbSettings(), disk, {}, "test") is None
    (line,) = told(capsys)
    assert line.startswith(f"blocklearn: W&B did not start in {disk / 'wandb'} (")
    assert line.endswith("); the run goes on without it, metrics.csv has all")


def test_a_disk_that_is_full_in_mid_run_is_told_once(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb_key.setenv("WANDB_MODE", "offline")
    with small_disk(tmp_path, 1 << 20) as disk:
        logger = build(disk)
        log(logger, range(3))
        time.sleep(0.5)
        fill(disk)
        log(logger, range(3, 2000))
        finish_wandb([logger], False)
    (line,) = told(capsys)
    assert (
        "could not write all of its files (No space left on device); metrics.csv is whole" in line
    )


ALONE = """
import sys
from pathlib import Path
from blocklearn.reporting.loggers import WandbSettings, build_wandb
logger = build_wandb(WandbSettings(), Path(sys.argv[1]), {}, "fit")
logger.log_metrics({"loss": 1.0}, 0)
raise RuntimeError("mine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("uploads", [True, False])
def test_python_exits_in_time_and_with_its_own_error_where_nobody_ended_the_run(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path, uploads: bool
) -> None:
    with wandb_server(uploads=uploads) as server:
        environment = {**os.environ, "WANDB_BASE_URL": server.url}
        done = subprocess.run(
            [sys.executable, "-c", ALONE, str(tmp_path)],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count(b"RuntimeError: mine") == 1
        assert [server.exit_codes(run) for run in server.streams] == ([[1]] if uploads else [])
