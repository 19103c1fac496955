"""What became of runs, and who runs them where."""

import csv
import fcntl
import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ablation.test_trials import maker

from blocklearn import UserError
from blocklearn.ablation.job_script import job_script
from blocklearn.ablation.outcome import last_words, outcome_of
from blocklearn.ablation.places import places_on, visible_devices
from blocklearn.ablation.processes import LOCK, Process, start
from blocklearn.ablation.recorded import known_settings
from blocklearn.ablation.runner import Runner, duration
from blocklearn.ablation.search import ListedSearch
from blocklearn.ablation.slurm import TrialJob, is_queued, read_settings, submit
from blocklearn.ablation.summary import by_setting, summarise
from blocklearn.ablation.sweep_file import Metric
from blocklearn.ablation.trials import Trial
from blocklearn.evaluation import Row
from blocklearn.reporting.results import Results, write_results
from blocklearn.runs.run_folder import RESULTS

METRIC = Metric()


def finish(trial: Trial, last: float) -> None:
    """As a run leaves its folder."""
    trial.record()
    rows = [Row(f"layer{k}", k, "raw", {"top1": last - 2 + k, "top5": 99.0}) for k in (1, 2)]
    write_results(Results("c", "digits", None, 10, {}, rows), trial.folder / "probe/results.json")
    found = {
        f"probe/{row.stage}/raw/{name}": value for row in rows for name, value in row.values.items()
    }
    head = ",".join(["block1/loss", "step", *found, "probe/last"])
    tested = ",".join(map(str, ["", 2, *found.values(), last]))
    none = "," * (len(found) + 1)
    table = f"{head}\n3.0,0{none}\n{last / 10},1{none}\n{tested}\n"
    (trial.folder / "metrics.csv").write_text(table)


def trials(tmp_path: Path) -> list[Trial]:
    return [
        trial
        for noise in ("none", "all")
        for trial in maker(tmp_path, [0, 1]).of({"model.noise": noise})
    ]


def test_a_run_has_ended_once_it_is_trained_tested_and_logged(tmp_path: Path) -> None:
    trial = trials(tmp_path)[0]
    assert outcome_of(trial) is None
    finish(trial, 90.0)
    found = outcome_of(trial)
    assert found is not None
    expected = {"block1/loss": 9.0, "probe/last": 90.0, "step": 2.0}
    assert {name: found.figures[name] for name in expected} == expected
    assert outcome_of(replace(trial, arguments=("fit", "--other"))) is None
    table = trial.folder / "metrics.csv"
    table.write_text(table.read_text().rpartition(",90")[0])  # killed as it was written
    assert outcome_of(trial) is None
    finish(trial, 90.0)
    (trial.folder / "probe").rename(trial.folder / "probe_untrained")
    assert outcome_of(trial) is None


def test_what_a_run_has_logged_stands_whatever_it_was_tested_by_later(tmp_path: Path) -> None:
    trial = trials(tmp_path)[0]
    finish(trial, 90.0)
    for name, values in (("knn", {"k20": 5.0}), ("other", {"top1": 5.0, "top5": 9.0})):
        rows = [Row("layer1", 1, "raw", values)]
        write_results(Results("c", "digits", None, 10, {}, rows), trial.folder / name / RESULTS)
    found = outcome_of(trial)
    assert found is not None
    assert [row.values["top1"] for row in found.results.rows] == [89.0, 90.0]


def test_a_value_that_was_not_a_number_counts_as_logged(tmp_path: Path) -> None:
    trial = trials(tmp_path)[0]
    finish(trial, math.nan)
    assert outcome_of(trial) is not None


def test_the_best_setting_is_the_one_of_the_best_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = trials(tmp_path)
    for trial, value in zip(every, (90.0, 94.0, 99.0, 80.0), strict=True):
        finish(trial, value)
    ended = [(trial, outcome_of(trial)) for trial in every]
    summarise(ended, METRIC, tmp_path)
    printed = capsys.readouterr().out
    assert "Best, by the largest probe/last: noise=none, 92 ± 2.8" in printed
    assert "*92.0 ± 2.8" in " ".join(printed.split())
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model.noise"], row["seed_everything"]) for row in rows] == [
        (noise, seed) for noise in ("none", "all") for seed in "01"
    ]
    assert [float(row["probe/last"]) for row in rows] == [90, 94, 99, 80]
    summarise(ended, Metric("block1/loss", False), tmp_path)
    assert "Best, by the smallest block1/loss: noise=all, 8.95 ± 1.3" in capsys.readouterr().out
    with pytest.raises(UserError, match="no run has logged the metric probe/lats.*probe/last"):
        summarise(ended, Metric("probe/lats"), tmp_path)


def test_the_table_says_how_many_runs_of_a_setting_failed(tmp_path: Path) -> None:
    every = trials(tmp_path)
    finish(every[0], 90.0)
    found = by_setting([(trial, outcome_of(trial)) for trial in every])
    assert {name: len(results) for name, results in found.items()} == {
        "noise=none (1 of 2 failed)": 1,
        "noise=all (2 of 2 failed)": 0,
    }


def test_what_was_tried_before_is_known_in_its_order(tmp_path: Path) -> None:
    own = maker(tmp_path, [0, 1])
    for noise, value in (("b", 90.0), ("a", 80.0), ("c", None)):
        for trial in own.of({"model.noise": noise}):
            trial.record()
            if value:
                finish(trial, value)
    assert known_settings(own, METRIC) == [
        ({"model.noise": "b"}, 90.0),
        ({"model.noise": "a"}, 80.0),
        ({"model.noise": "c"}, None),
    ]


def test_what_has_ended_is_not_started(tmp_path: Path) -> None:
    own = maker(tmp_path, [0, 1])
    settings = [{"model.noise": "none"}, {"model.noise": "all"}]
    for trial in trials(tmp_path):
        finish(trial, 90.0)
    runner = Runner(ListedSearch(settings), own, METRIC, [{}])
    runner.run()
    assert [trial.name for trial, _ in runner.ended] == ["noise=none"] * 2 + ["noise=all"] * 2
    assert not list(tmp_path.glob("**/log.txt"))


def test_what_an_earlier_start_has_ended_is_not_counted_as_left(tmp_path: Path) -> None:
    own = maker(tmp_path, [0, 1])
    settings = [{"model.noise": "none"}, {"model.noise": "all"}]
    every = [trial for one in settings for trial in own.of(one)]
    finish(every[1], 90.0)
    finish(every[2], 90.0)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)

    runner = Runner(ListedSearch(settings), own, METRIC, [{}], say)
    trial = every[0]
    process = Process(trial, 0, subprocess.Popen([sys.executable, "-c", ""]))
    assert runner.following() == trial
    process.popen.wait()
    finish(trial, 80.0)
    runner.finish(process)
    assert said[0].startswith("[1/4] noise=none, seed 0: probe/last 80, ")
    assert "; 1 left, about " in said[0]


def test_a_folder_that_another_process_holds_is_waited_for_and_looked_at_again(
    tmp_path: Path,
) -> None:
    own = maker(tmp_path, [0])
    settings = [{"model.noise": "none"}, {"model.noise": "all"}]
    first, second = [trial for one in settings for trial in own.of(one)]
    finish(second, 90.0)
    first.record()
    held = os.open(first.folder / LOCK, os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "another process" in line:  # which ends meanwhile
            finish(first, 80.0)
            os.close(held)

    Runner(ListedSearch(settings), own, METRIC, [{}], say).run()
    assert "another process runs it still" in said[0]
    assert [line.split("probe/last ")[-1] for line in said[1:]] == [
        "90, done before",
        "80, done before",
    ]
    assert not first.log.exists(), "it was not run a second time"


def test_a_run_is_never_started_beside_itself(tmp_path: Path) -> None:
    trial = replace(trials(tmp_path)[0], arguments=("--version",))
    trial.folder.mkdir(parents=True)
    held = os.open(trial.folder / LOCK, os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert start(trial, 0, {}) is None
    os.close(held)
    process = start(trial, 0, {})
    assert process is not None
    assert start(trial, 1, {}) is None, "the process itself holds the lock"
    assert process.popen.wait() == 0
    assert trial.log.read_text().startswith("blocklearn ")
    trial.record()
    process.note_seconds()
    process.note_seconds()
    record = json.loads((trial.folder / "trial.json").read_text())
    assert record["seconds"] > 0
    assert record["arguments"] == ["--version"]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("one\nblocklearn: error: no such file\nblocklearn: it ends\n", "no such file"),
        ("Traceback\nValueError: odd\n\n", "ValueError: odd"),
        ("", "it printed nothing"),
    ],
)
def test_a_log_says_why_a_run_failed(tmp_path: Path, log: str, told: str) -> None:
    (tmp_path / "log.txt").write_text(log)
    assert last_words(tmp_path / "log.txt") == told


def test_cores_and_devices_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocklearn.ablation.places.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert places_on(None, []) == [{"OMP_NUM_THREADS": "8"}]
    assert places_on(3, []) == [{"OMP_NUM_THREADS": "2"}] * 3
    four = places_on(None, list("0123"), 2)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in four] == ["0,1", "2,3"]
    shared = places_on(3, ["0", "1"])
    assert [place["CUDA_VISIBLE_DEVICES"] for place in shared] == ["0", "1", "0"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert places_on(2, []) == [{}, {}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    assert visible_devices(2) == ["4", "6"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_devices(2) == ["0", "1"]


def test_a_printed_job_array_runs_every_command_as_it_is(tmp_path: Path) -> None:
    own = maker(tmp_path, [0, 1])
    values = ["all", "[[layer1, layer2], [layer3]]", 'it\'s "odd" $HOME *']
    every = [trial for value in values for trial in own.of({"model.noise": value})]
    script = tmp_path / "script.sh"
    script.write_text(job_script(every, "digits", "blocklearn ablate x --table", 2))
    assert "#SBATCH --array=0-5%2\n" in script.read_text()
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    srun.chmod(0o755)
    for number, trial in enumerate(every):
        variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(number)}
        done = subprocess.run(
            ["bash", str(script)], env=variables, capture_output=True, text=True, check=True
        )
        assert done.stdout.split("\0")[:-1] == ["blocklearn", *trial.arguments]


def test_a_job_can_be_sent_and_sent_again(tmp_path: Path) -> None:
    trial = trials(tmp_path)[0]
    job = pickle.loads(pickle.dumps(TrialJob(trial)))
    assert job.trial == trial
    assert read_settings(["slurm_partition=gpu", "timeout_min=60"]) == {
        "slurm_partition": "gpu",
        "timeout_min": 60,
    }
    with pytest.raises(UserError, match="write KEY=VALUE"):
        read_settings(["gpu"])


def test_what_is_in_the_queue_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trials(tmp_path)[0]
    trial.folder.mkdir(parents=True)
    assert not is_queued(trial)
    (trial.folder / "slurm_job").write_text("12_3\n")
    squeue = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for state, expected in (("RUNNING", True), ("", False)):
        squeue.write_text(f'#!/bin/bash\n[ "$3" = 12_3 ] && echo {state}\n')
        squeue.chmod(0o755)
        assert is_queued(trial) == expected


def test_jobs_without_submitit_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocklearn.ablation.slurm.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'blocklearn\[slurm\]'.*--executor script"):
        submit(trials(tmp_path), tmp_path, "name", None, {})


@pytest.mark.parametrize(("seconds", "told"), [(42.4, "42 s"), (400, "7 min"), (9000, "2.5 h")])
def test_times_are_told_for_people(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_a_job_array_asks_for_what_the_runs_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through submitit, with a stand-in for `sbatch`."""
    pytest.importorskip("submitit")
    for name, says in (
        ("sbatch", 'cp "$1" $STAND_IN/sent; echo Submitted batch job 12'),
        ("srun", ""),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{says}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    every = trials(tmp_path)
    jobs = submit(every, tmp_path / "all", "digits", 3, {"slurm_partition": "gpu", "mem_gb": 16})
    assert [str(job.job_id) for job in jobs] == [f"12_{k}" for k in range(4)]
    assert (every[3].folder / "slurm_job").read_text() == "12_3\n"
    lines = set((tmp_path / "sent").read_text().splitlines())
    assert lines >= {
        "#SBATCH --array=0-3%3",
        "#SBATCH --partition=gpu",
        "#SBATCH --mem=16GB",
        "#SBATCH --time=1440",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --requeue",
        "#SBATCH --gpus-per-node=1",
    }
    with pytest.raises(UserError, match="slurm_partitoin"):
        submit(every, tmp_path / "all", "digits", 3, {"slurm_partitoin": "gpu"})
