"""What a training step of every setting of a sweep costs, counted from its run's configuration."""

import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from blocklearn.ablation.outcome import Outcome
from blocklearn.ablation.settings_table import StepCost
from blocklearn.ablation.trials import Trial
from blocklearn.cli.app import BlocklearnCLI
from blocklearn.runs.run_folder import RunFolder


def costs_of(ended: Sequence[tuple[Trial, Outcome | None]]) -> dict[str, StepCost]:
    """By the setting's name; the seed does not matter."""
    folders = {trial.name: trial.folder for trial, outcome in ended if outcome}
    return {name: count_step(RunFolder(folder).config) for name, folder in folders.items()}


def count_step(config: Path) -> StepCost:
    """What `blocklearn plan` counts for one process."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        out = Path(folder) / "plan.json"
        flags = ["--devices", "1", "--measure", "false", "--out", str(out)]
        BlocklearnCLI(["plan", "--config", str(config), *flags])
        plan = json.loads(out.read_text())
    blocks = plan["blocks"]
    return StepCost(
        plan["ranks"][0]["bytes"],
        sum(block["objective_bytes"] for block in blocks),
        sum(block["flops"] for block in blocks),
    )
