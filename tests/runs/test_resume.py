"""What a run that goes on may change."""

import csv
import json
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from test_cli import fit, read_metrics

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.callbacks.stop_on_signal import StopOnSignal
from blocklearn.runs.resume import (
    RUN,
    Change,
    accept,
    changes_since,
    deciding,
    go_on_from,
    require_same_processes,
)
from blocklearn.runs.run_folder import RunFolder

LONGER = "--trainer.max_epochs=2"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("--model.optimizer.lr=0.5", "model.optimizer.init_args.lr is 0.5 here and was 0.002"),
        (
            "--model.optimizer.weight_decay=0.5",
            "model.optimizer.init_args.weight_decay is 0.5 here and was 0.05",
        ),
        (
            "--model.optimizer=torch.optim.SGD",
            "model.optimizer.class_path is torch.optim.SGD here and was torch.optim.AdamW",
        ),
        ("--model.noise=all", "model.noise is all here and was none"),
        (
            "--model.noise=GaussianNoise",
            "model.noise is blocklearn.GaussianNoise here and was none",
        ),
        ("--seed_everything=3", "seed_everything is 3 here and was 0"),
        ("--data.batch_size=32", "data.init_args.batch_size is 32 here and was 16"),
        ("--data.recipe.degrees=3", "data.init_args.recipe.init_args.degrees is 3"),
        ("--data.image_size=24", "data.init_args.image_size is 24 here and was 20"),
        (
            "--data=Synthetic",
            "data.class_path is blocklearn.data.Synthetic here and was blocklearn.data.Digits",
        ),
        ("--model.objective.criterion.lambd=1", "lambd is 1.0 here and was 0.02"),
        ("--model.lr_schedule=ConstantLR", "model.lr_schedule.class_path is blocklearn.ConstantLR"),
        (
            "--model.update.accumulate_batches=2",
            "model.update.accumulate_batches is 2 here and was 1",
        ),
        ("--trainer.precision=bf16-mixed", "trainer.precision is bf16-mixed here and was not set"),
        ("--trainer.limit_train_batches=2", "trainer.limit_train_batches is 2 here and was 3"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings_unless_asked_to(
    trained: Path, capsys: pytest.CaptureFixture[str], change: str, told: str
) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert fit(trained, change, LONGER, "--resume=auto") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("blocklearn: error: resume: ")
    assert told in line
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_an_accepted_change_is_heeded_told_and_written_down(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, folder = f"--ckpt_path={trained / 'checkpoints' / 'last.ckpt'}", tmp_path / "run"
    changes = [
        "--model.optimizer.lr=0.5",
        "--model.optimizer.weight_decay=0.25",
        "--model.lr_schedule=ConstantLR",
    ]
    assert fit(folder, *changes, LONGER, checkpoint, "--accept_changes=true") == 0
    printed = capsys.readouterr().err
    assert "Changed from batch 3 on: model.optimizer.init_args.lr 0.002 -> 0.5" in printed
    assert (
        "trainer.max_epochs 1 -> 2: learning-rate curve and windows are those of the new length"
        in printed
    )
    with (folder / "changes.csv").open(newline="") as file:
        rows = {row["setting"]: row for row in csv.DictReader(file)}
    assert rows["model.optimizer.init_args.lr"] == {
        "step": "3",
        "setting": "model.optimizer.init_args.lr",
        "before": "0.002",
        "now": "0.5",
    }
    assert {float(row["block1/lr"]) for row in read_metrics(folder) if row["block1/lr"]} == {0.5}
    group = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][
        0
    ]["param_groups"][0]
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["optimizer"]["init_args"]["lr"] == 0.5
    assert not {"resume", "accept_changes", "ckpt_path", "config"} & config.keys()


def test_where_files_lie_and_how_fast_it_goes_may_change_without_a_word(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"--ckpt_path={trained / 'checkpoints' / 'last.ckpt'}"
    silent = [
        "--data.num_workers=2",
        "--model.recompute=views",
        "--probe.lr=1",
        "--trainer.log_every_n_steps=2",
    ]
    assert fit(tmp_path / "run", *silent, LONGER, checkpoint) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Changed")]
    assert [line.split(": ")[1] for line in told] == ["trainer.max_epochs 1 -> 2"]


def test_one_command_begins_goes_on_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ["--trainer.max_epochs=2", "--resume=auto"]
    assert fit(whole, "--trainer.max_epochs=2") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopOnSignal, "_agreed", lambda _: signal.SIGTERM)  # behind its first batch
        with pytest.raises(SystemExit):
            fit(parts, *command)
    capsys.readouterr()
    for last in (False, True):
        assert fit(parts, *command) == 0
        told = capsys.readouterr().out
        assert (
            "Nothing left to do: the run ends at batch 6, where its checkpoint is." in told
        ) == last
    first, second = (load_file(folder / "backbone.safetensors") for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [row["step"] for row in read_metrics(parts)] == [
        row["step"] for row in read_metrics(whole)
    ]


@pytest.mark.parametrize(
    ("ended_by", "more", "reason"),
    [
        (
            ["--trainer.max_time=00:00:00:01"],
            "--trainer.max_time=00:01:00:00",
            "its time is up, that of all its parts together; to go on, raise --trainer.max_time, "
            "or the Timer's duration",
        ),
        (
            [
                "--trainer.callbacks=EarlyStopping",
                "--trainer.callbacks.monitor=block1/loss",
                "--trainer.callbacks.min_delta=1e9",
                "--trainer.callbacks.patience=1",
            ],
            "--trainer.callbacks.patience=2",
            "EarlyStopping, of patience 1, did not see block1/loss improve; to go on, raise its "
            "patience",
        ),
    ],
)
def test_what_ended_a_run_early_is_told_and_ends_it_until_it_is_given_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ended_by: list[str], more: str, reason: str
) -> None:
    own = ["--model.optimizer.lr=1e-5", "--model.lr_schedule.warmup_epochs=0"]  # ends anywhere
    command = ["--trainer.max_epochs=200", *own, "--resume=auto", *ended_by]
    assert fit(tmp_path, *command) == 0
    step = torch.load(RunFolder(tmp_path).last_checkpoint, weights_only=True)["global_step"]
    assert f"Ended at batch {step}: {reason}.\nTrained: " in capsys.readouterr().out
    assert fit(tmp_path, *command) == 0
    assert f"Nothing left to do: {reason}.\n" in capsys.readouterr().out
    assert fit(tmp_path, *command, more, f"--trainer.max_steps={step + 1}") == 0
    printed = capsys.readouterr().out
    assert "Nothing left" not in printed
    assert "Ended at" not in printed
    assert (
        torch.load(RunFolder(tmp_path).last_checkpoint, weights_only=True)["global_step"]
        == step + 1
    )


def test_a_run_that_max_steps_ends_at_an_epochs_border_goes_on_with_the_next_epoch(
    tmp_path: Path,
) -> None:
    """Case 5: epoch 1 was never seen."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    constant = ["--model.lr_schedule=ConstantLR", "--trainer.max_epochs=-1"]
    assert fit(whole, *constant, "--trainer.max_steps=9") == 0
    for steps in (3, 5, 9):
        assert fit(parts, *constant, f"--trainer.max_steps={steps}", "--resume=auto") == 0
    first, second = (load_file(folder / "backbone.safetensors") for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [
        [(row["step"], row["epoch"]) for row in read_metrics(folder) if row["block1/loss"]]
        for folder in (whole, parts)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("asked", ["--resume=auto", "--ckpt_path=last"])
def test_going_on_needs_to_know_with_what(capsys: pytest.CaptureFixture[str], asked: str) -> None:
    assert main(["fit", "--config=bt_digits", asked]) == 1
    assert (
        f"{asked.replace('=', ' ')} needs the run to go on with: --trainer.default_root_dir"
        in capsys.readouterr().err
    )


def test_a_state_that_lightning_saved_for_slurm_is_found(trained: Path, tmp_path: Path) -> None:
    """As an older version left it."""
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes((trained / "checkpoints" / "last.ckpt").read_bytes())
    assert fit(tmp_path) == 1, "it is not trained over"
    assert fit(tmp_path, LONGER, "--resume=auto") == 0
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6


def test_an_evaluation_in_a_job_of_slurm_ignores_such_a_state(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "checkpoints/last.ckpt"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes((trained / name).read_bytes())
    (run / "hpc_ckpt_1.ckpt").write_bytes(b"not even a checkpoint")
    for name, value in (
        ("SLURM_JOB_ID", "1"),
        ("SLURM_NTASKS", "1"),
        ("SLURM_JOB_NAME", "train"),
        ("SLURM_PROCID", "0"),
    ):
        monkeypatch.setenv(name, value)
    for verb in ("test", "validate", "predict"):
        assert main([verb, f"--model.checkpoint={run / 'checkpoints' / 'last.ckpt'}"]) == 0


def test_another_number_of_processes_is_refused_or_accepted() -> None:
    checkpoint = {RUN: {"settings": "{}", "processes": 2}}
    with pytest.raises(UserError, match="resume: 1 processes here, 2 in the checkpoint's run"):
        require_same_processes(checkpoint, 1, accepted=False)
    require_same_processes(checkpoint, 1, accepted=True)
    require_same_processes({}, 1, accepted=False)


def test_a_new_argument_of_a_later_version_is_no_change() -> None:
    before = {
        "model": {
            "noise": "all",
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        }
    }
    later = {"model": {**before["model"], "something_new": 1}}  # type: ignore[dict-item]
    checkpoint = {RUN: {"settings": json.dumps(deciding(before)), "processes": 1}}
    assert changes_since(checkpoint, later) == []


def test_the_paths_of_one_class_are_no_change() -> None:
    before, now = (
        {"model": {"optimizer": {"class_path": path}}}
        for path in ("blocklearn.LARS", "blocklearn.optim.LARS")
    )
    assert changes_since({RUN: {"settings": json.dumps(deciding(before))}}, now) == []


@pytest.mark.parametrize(
    "damaged", [7, {}, {"settings": 3}, {"settings": "{"}, {"settings": "[1]"}]
)
def test_a_damaged_entry_is_one_line(damaged: object) -> None:
    with pytest.raises(UserError, match="the checkpoint's entry blocklearn_run is damaged"):
        changes_since({RUN: damaged}, {"model": {}})


def test_what_makes_no_sense_is_not_accepted_either() -> None:
    with pytest.raises(
        UserError, match="batch_size is 8 here and was 4.*begin a new run from its weights"
    ):
        accept([Change("data.init_args.batch_size", 4, 8)], accepted=True)


def test_a_run_that_is_there_is_not_begun_again(trained: Path) -> None:
    from types import SimpleNamespace

    trainer = SimpleNamespace(default_root_dir=str(trained))
    config = SimpleNamespace(trainer=trainer, ckpt_path=None, resume=None, accept_changes=False)
    with pytest.raises(UserError, match="holds a trained run already"):
        go_on_from(config, {})
