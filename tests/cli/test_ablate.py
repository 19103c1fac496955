"""`blocklearn ablate` as a user drives it: real runs on digits."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_cli import SMALL
from wandb_records import summary

from blocklearn.__main__ import main
from blocklearn.ablation.search import grid
from blocklearn.ablation.sweep_file import read_sweep
from blocklearn.ablation.trials import TrialMaker
from blocklearn.cli.parse_trials import parse_trials
from blocklearn.runs.run_folder import shipped_configs

SWEEPS = sorted((shipped_configs() / "sweeps").glob("*.yaml"))
NOISE = {"model.noise": {"values": ["none", "all"]}}


def write_sweep(folder: Path, parameters: Any, *flags: str, **further: Any) -> Path:
    path = folder / "own.yaml"
    command = ["${program}", "fit", *SMALL, "--data.num_workers=0", *flags, "${args}"]
    content = {"program": "blocklearn", "command": command, "method": "grid"}
    path.write_text(yaml.safe_dump({**content, "parameters": parameters, **further}))
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """A sweep of two runs beside one another, one of which fails in its first batches."""
    folder = tmp_path_factory.mktemp("sweep")
    rates = {"model.optimizer.lr": {"values": [0.002, 1e30]}}
    path = write_sweep(folder, rates, metric={"name": "probe/block2", "goal": "maximize"})
    command = [str(path), "--parallel=2", f"--default_root_dir={folder / 'runs'}"]
    done = subprocess.run(
        [sys.executable, "-m", "blocklearn", "ablate", *command],
        env={**os.environ, "WANDB_MODE": "offline", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    return folder, done.returncode, done.stdout, done.stderr


def test_a_sweep_ends_in_a_table_a_picture_and_the_figures(ran: Any) -> None:
    folder, _, printed, _ = ran
    lines = printed.splitlines()
    assert lines[0].startswith("2 runs, 2 beside one another")
    assert any("lr=0.002: probe/block2 " in line for line in lines)
    assert any("Best, by the largest probe/block2: lr=0.002" in line for line in lines)
    assert max(map(len, lines[2:])) <= 80 or not sys.stdout.isatty()
    assert (folder / "runs" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "runs" / "ablation.csv").open(newline="") as file:
        stages = {row["stage"] for row in csv.DictReader(file) if row["run"] == "lr=0.002"}
    assert len(stages) == 4
    with (folder / "runs" / "trials.csv").open(newline="") as file:
        rows = {row["model.optimizer.lr"]: row for row in csv.DictReader(file)}
    assert {row["state"] for row in rows.values()} == {"finished", "failed"}
    assert float(rows["0.002"]["probe/block2"]) > 0
    assert float(rows["0.002"]["seconds"]) > 1


def test_a_failed_run_is_told_with_its_reason_and_the_others_go_on(ran: Any) -> None:
    folder, status, printed, errors = ran
    assert status == 1
    (told,) = [line for line in printed.splitlines() if "failed with status" in line]
    log = folder / "runs" / "lr=1e-30" / "log.txt"
    assert "Traceback" not in printed + errors
    assert "lr=1e+30" in told
    assert "block" in told
    assert "(failed)" in printed
    assert not log.exists()
    assert str(folder / "runs" / "lr=1e+30" / "log.txt") in errors


def test_a_run_has_the_metric_of_the_sweep_at_wandb(ran: Any) -> None:
    run = ran[0] / "runs" / "lr=0.002"
    rows = json.loads((run / "probe" / "results.json").read_text())["rows"]
    top1 = {(row["stage"], row["feature"]): row["top1"] for row in rows}
    found = summary(run)
    for block in range(1, 5):
        assert found[f"probe/block{block}"] == pytest.approx(top1[f"layer{block}", "raw"])
        assert found[f"probe/layer{block}/head/top1"] == top1[f"layer{block}", "head"]
    assert found["probe/last"] == found["probe/block4"]
    assert list(run.glob("wandb/*run-*/files/media/table/probe/results*.json"))


def test_a_setting_has_a_line_with_what_a_step_costs(
    ran: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    folder = ran[0]
    shown = ["--table", "--costs", "--show", "loss", f"--default_root_dir={folder / 'runs'}"]
    assert main(["ablate", str(folder / "own.yaml"), *shown]) == 0
    assert "MB of objectives" in capsys.readouterr().out
    with (folder / "runs" / "settings.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    with (folder / "runs" / "lr=0.002" / "metrics.csv").open(newline="") as file:
        losses = [float(row["block4/loss"]) for row in csv.DictReader(file) if row["block4/loss"]]
    assert float(line["loss"]) == losses[-1]
    assert 0 < float(line["objective_MB"]) < float(line["held_MB"])
    assert float(line["GFLOP"]) > 0
    assert float(line["seconds_per_batch"]) > 0


def test_runs_that_have_ended_can_be_tested_in_further_ways(
    ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ran[0]
    own = [str(folder / "own.yaml"), f"--default_root_dir={folder / 'runs'}"]
    test = ["--test=KNN --evaluation.k [3]"]
    main(["ablate", *own, "--only=0", *test])
    assert "[1/1] KNN --evaluation.k [3], lr=0.002: " in capsys.readouterr().out
    found = folder / "runs" / "lr=0.002" / "test_knn-k-3" / "results.json"
    before = found.stat().st_mtime_ns
    main(["ablate", *own, "--only=0", *test])
    assert found.stat().st_mtime_ns == before
    assert main(["ablate", *own, "--table", *test]) == 0
    assert "Nearest neighbours on digits, k = 3" in capsys.readouterr().out
    assert "| k = 3 global average |" in (folder / "runs" / "ablation.md").read_text()
    assert (folder / "runs" / "ablation_knn-k-3.png").exists()


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ("KN", "--test 'KN': evaluation: there is no KN; did you mean KNN?"),
        ("KNN --evaluation.kk 3", "evaluation: kk is not accepted; did you mean k?"),
        ("probe_speaker.yaml", "this data set has one labelling only"),
    ],
)
def test_a_further_test_that_cannot_be_is_refused_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], test: str, told: str
) -> None:
    path = write_sweep(tmp_path, NOISE)
    status = main(["ablate", str(path), f"--default_root_dir={tmp_path / 'runs'}", "--test", test])
    assert status == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--against=noise=al"], "--against noise=al: no such setting; did you mean noise=all?"),
        (["--against=x"], "--against x: no such setting; there are noise=none, noise=all"),
        (["--test=Similarity --evaluation.to {against}"], "name its setting with --against"),
    ],
)
def test_a_comparison_with_no_setting_is_refused_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    path = write_sweep(tmp_path, NOISE)
    assert main(["ablate", str(path), f"--default_root_dir={tmp_path / 'runs'}", *flags]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_runs_that_have_ended_are_compared_with_one_of_them(
    ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ran[0]
    own = [str(folder / "own.yaml"), f"--default_root_dir={folder / 'runs'}", "--only=0"]
    test = ["--against=lr=0.002", "--test=Similarity --evaluation.to {against}"]
    main(["ablate", *own, *test])
    name = "test_similarity-to-lr-0.002"
    assert "failed" not in capsys.readouterr().out
    found = json.loads((folder / "runs" / "lr=0.002" / name / "results.json").read_text())
    assert [row["cka"] for row in found["rows"]] == pytest.approx([1.0] * len(found["rows"]))


def test_what_has_ended_is_not_run_again(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ran[0]
    log = folder / "runs" / "lr=0.002" / "log.txt"
    before = log.stat().st_mtime_ns
    again = ["--table", f"--default_root_dir={folder / 'runs'}"]
    assert main(["ablate", str(folder / "own.yaml"), *again]) == 0
    printed = capsys.readouterr()
    assert "1 of 2 runs have not ended, or failed" in printed.err
    assert "Best, by the largest probe/block2: lr=0.002" in printed.out
    assert log.stat().st_mtime_ns == before


def test_flags_of_every_run_may_follow_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, NOISE)
    assert main(["ablate", str(path), "--dry_run", "--data.nothing", "1"]) == 1
    assert capsys.readouterr().err.startswith("blocklearn: error: own.yaml: command: ")
    assert main(["ablate", str(path), "--dry_run", "--data.batch_size", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("--data.batch_size 32" in line for line in lines)
    own = [f"--default_root_dir={tmp_path / 'runs'}", "--seeds=2", "--data.batch_size", "32"]
    assert main(["ablate", str(path), "--executor=script", "--parallel=2", *own]) == 0
    script = capsys.readouterr().out
    assert "--array=0-3%2" in script
    assert "--seeds 2 --data.batch_size 32 --table\n" in script, "the table is that of these runs"
    assert main(["ablate", str(path), "--dry_run", "--model.noise=hw"]) == 1
    assert "model.noise is a parameter of the sweep" in capsys.readouterr().err


def test_a_dry_run_prints_the_commands_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = write_sweep(tmp_path, NOISE), tmp_path / "runs"
    arguments = [str(path), "--seeds=3", "--dry_run", f"--default_root_dir={folder}"]
    assert main(["ablate", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("blocklearn fit --config=bt_digits.yaml") for line in lines)
    assert len({line for line in lines if "--model.noise=all" in line}) == 3
    assert not folder.exists()
    assert main(["ablate", *arguments, "--only=5"]) == 0
    assert capsys.readouterr().out.splitlines() == lines[5:]


@pytest.mark.parametrize(
    ("parameters", "flags", "told"),
    [
        ({"model.nose": {"values": ["all"]}}, [], "parameters: model.nose: all: "),
        ({"model.nose": {"values": ["all"]}}, [], "did you mean --model.noise?"),
        ({**NOISE, "model.optimizer.lr": {"values": [1, "x"]}}, [], "model.optimizer.lr: x: "),
        ({"trainer.max_epochs": {"values": [1, 2.5]}}, [], "trainer.max_epochs: 2.5: "),
        (NOISE, ["--modle.blocks=per_stage"], "own.yaml: command: "),
        (NOISE, ["--config=bt_digit.yaml"], "did you mean bt_digits.yaml"),
    ],
)
def test_a_misspelt_parameter_is_refused_before_the_first_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    parameters: Any,
    flags: list[str],
    told: str,
) -> None:
    path = write_sweep(tmp_path, parameters, *flags)
    assert main(["ablate", str(path), f"--default_root_dir={tmp_path / 'runs'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("blocklearn: error: own.yaml: ")
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_shipped_sweep_expands_to_commands_that_parse(path: Path, tmp_path: Path) -> None:
    sweep = read_sweep(path)
    maker = TrialMaker(sweep, tmp_path, None)
    trials = [trial for settings in grid(sweep, None).examples() for trial in maker.of(settings)]
    config = parse_trials(trials, path.name)
    assert config.then_test is True
    assert config.resume == "auto"
    assert sweep.metric.name.startswith("probe/")
    for trial in trials:
        if trial.name == "untrained":  # shorter than its recipe is meant to be
            config = parse_trials([trial], path.name)
            warm_up = config.model.lr_schedule.get("init_args", {}).get("warmup_epochs", 0)
            assert warm_up <= config.trainer.max_epochs
    assert sweep.metric.maximize
    assert "--then_test" in sweep.command, "an agent of W&B adds nothing"


def start(path: Path, folder: Path, *flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "blocklearn", "ablate", str(path), f"--default_root_dir={folder}"]
        + list(flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_until(condition: Any, process: "subprocess.Popen[str]", seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)


def those_that_run(folder: Path) -> list[int]:
    """Processes of any run in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode(errors="replace")
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder) in command and state != "Z":
            found.append(int(place.name))
    return found


@pytest.mark.slow
def test_killed_and_started_again_it_repeats_no_run_and_goes_on_with_the_others(
    tmp_path: Path,
) -> None:
    long = ["--trainer.max_epochs=12", "--trainer.limit_train_batches=40"]
    path, folder = write_sweep(tmp_path, NOISE, *long), tmp_path / "runs"
    first, second = folder / "noise=none", folder / "noise=all"
    killed = start(path, folder)
    wait_until(lambda: (second / "checkpoints" / "last.ckpt").exists(), killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    end = time.monotonic() + 60
    while those_that_run(folder):  # what it left behind saves its state and ends
        assert time.monotonic() < end
        time.sleep(0.1)
    results = first / "probe" / "results.json"
    before = results.stat().st_mtime_ns, (first / "log.txt").stat().st_mtime_ns
    assert not (second / "probe").exists()
    again = start(path, folder)
    printed = again.communicate(timeout=300)[0]
    assert again.returncode == 0, printed
    assert (results.stat().st_mtime_ns, (first / "log.txt").stat().st_mtime_ns) == before
    with (second / "metrics.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["block1/loss"]]
    assert steps == list(range(480)), "the second start goes on where the first was killed"
    began = json.loads((second / "run_facts.json").read_text())[-1]["from_batch"]
    assert began > 0
    assert "[2/2] noise=all: probe/last" in printed
    assert "Best, by the largest probe/last" in printed


@pytest.mark.slow
def test_asked_to_end_it_ends_its_runs_and_says_so(tmp_path: Path) -> None:
    long = ["--trainer.max_epochs=300", "--trainer.limit_train_batches=40"]
    path, folder = write_sweep(tmp_path, NOISE, *long), tmp_path / "runs"
    process = start(path, folder)
    wait_until(lambda: (folder / "noise=none" / "checkpoints" / "last.ckpt").exists(), process)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert "stopped by SIGTERM; 0 of 2 runs have ended; repeat the command to go on" in printed
    assert not those_that_run(folder)


@pytest.mark.slow
def test_a_job_array_of_submitit_runs_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    from blocklearn.ablation.outcome import outcome_of
    from blocklearn.ablation.slurm import TrialJob, submit

    sweep = read_sweep(write_sweep(tmp_path, NOISE))
    maker = TrialMaker(sweep, tmp_path / "runs", None)
    trials = [trial for settings in grid(sweep, None).examples() for trial in maker.of(settings)]
    (job,) = submit(trials[:1], tmp_path / "runs", "small", 2, {"gpus_per_node": 0}, "local")
    job.result()
    assert outcome_of(trials[0]) is not None
    assert outcome_of(trials[1]) is None

    stopped = TrialJob(trials[1])
    assert stopped.checkpoint().function.trial == trials[1]
