"""What a sweep sees of its trials: real commands, a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reporting.wandb_server import WandbServer, wandb_server
from test_cli import SMALL

from blocklearn.__main__ import main


def trial(server: WandbServer, folder: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    """As an agent starts it: the run's id and the sweep's are in the environment."""
    environment = {
        **os.environ,
        "WANDB_BASE_URL": server.url,
        "WANDB_SWEEP_ID": "sw33p",
        "WANDB_RUN_ID": "tr1al",
    }
    command = [
        sys.executable,
        "-m",
        "blocklearn",
        "fit",
        *SMALL,
        f"--trainer.default_root_dir={folder}",
        *changes,
    ]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("change", "status", "recorded"),
    [
        ("--data.max_corrupt=0", 0, 0),
        ("--model.update.gradient_clip_norm=-1", 1, 1),  # a value that is refused
        ("--model.nose=all", 2, 1),  # a name that is not there
        ("--model.optimizer.lr=1e30", 1, 1),  # a loss that is no number, in mid-run
    ],
)
def test_a_sweep_counts_a_trial_that_failed_as_failed(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path, change: str, status: int, recorded: int
) -> None:
    """Case 12: every end was recorded as a good one, and what was refused not at all."""
    with wandb_server() as server:
        done = trial(server, tmp_path / "run", change)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert server.exit_codes("tr1al") == [recorded]
        assert {run["name"] for run in server.runs} == {"tr1al"}


def test_a_trial_without_a_folder_has_one_that_the_agent_finds_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sw33p")
    monkeypatch.setenv("WANDB_RUN_ID", "tr1al")
    for step in (3, 6):
        longer = ["--resume=auto", f"--trainer.max_steps={step}", "--trainer.max_epochs=-1"]
        assert main(["fit", *SMALL, *longer]) == 0
        state = torch.load("runs/sw33p/tr1al/checkpoints/last.ckpt", weights_only=True)
        assert state["global_step"] == step
    monkeypatch.setenv("WANDB_RUN_ID", "../else")
    assert main(["fit", *SMALL, "--trainer.fast_dev_run=true"]) == 0
    assert not (tmp_path / "runs" / "else").exists()


def test_what_is_refused_outside_of_a_sweep_makes_no_run(
    wandb_key: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with wandb_server() as server:
        wandb_key.setenv("WANDB_BASE_URL", server.url)
        command = [
            sys.executable,
            "-m",
            "blocklearn",
            "fit",
            *SMALL,
            "--model.update.gradient_clip_norm=-1",
        ]
        assert (
            subprocess.run(
                command, capture_output=True, timeout=120, check=False, cwd=tmp_path
            ).returncode
            == 1
        )
        assert server.runs == []
