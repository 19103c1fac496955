"""A run of blocklearn 0.1: its checkpoint, exports, results and configuration are read as they were
meant, and training goes on from it to the same weights."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from golden_runs import PLAIN, computed_with
from safetensors.torch import load_file

from blocklearn import BlockwiseModule, GaussianNoise
from blocklearn.__main__ import main
from blocklearn.blocks.old_arguments import renewed_config, renewed_flag
from blocklearn.cli.config_files import locate_configs
from blocklearn.interop.trained_weights import read_trained
from blocklearn.old_paths import MOVED, new_path
from blocklearn.reporting.results import read_results

OLD = Path(__file__).parent / "old"
RUN = OLD / "run_0.1"
EXPECTED = json.loads((OLD / "expected_0.1.json").read_text())
IMAGES = torch.linspace(-2, 2, 2 * 3 * 20 * 20).reshape(2, 3, 20, 20)


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUN, tmp_path / "run"))


def test_its_checkpoint_computes_the_features_that_it_did() -> None:
    network = BlockwiseModule.load_from_checkpoint(RUN / "checkpoints" / "last.ckpt")
    with torch.no_grad():
        features = list(network.stage_features(IMAGES))
    for found, expected in zip(features, EXPECTED["features"], strict=True):
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_its_exports_hold_the_weights_of_its_checkpoint_and_its_heads() -> None:
    ours = read_trained(RUN / "checkpoints" / "last.ckpt")
    for path in (RUN / "export", RUN / "backbone.safetensors"):
        theirs = read_trained(path)
        assert theirs.structure == ours.structure
        assert all(
            torch.equal(theirs.backbone[name], ours.backbone[name]) for name in ours.backbone
        )
    kept = load_file(RUN / "export" / "heads.safetensors")
    flat = {f"{stage}/{name}": t for stage, head in ours.heads.items() for name, t in head.items()}
    assert kept.keys() == flat.keys()
    assert all(torch.equal(kept[name], flat[name]) for name in kept)


def test_its_results_are_read() -> None:
    results = read_results(RUN / "probe" / "results.json")
    assert results.full_title == "Linear probes on digits"
    assert results.names == ["top1", "top5"]
    assert len(results.rows) == 8


def test_its_configuration_means_what_it_meant(capsys: pytest.CaptureFixture[str]) -> None:
    new, told = renewed_config(yaml.safe_load((RUN / "config.yaml").read_text()))
    model = new["model"]
    assert model["network"]["backbone_kwargs"]["channels"] == [8, 8, 16, 16]
    assert model["network"]["channels_last"] is True
    assert model["update"]["accumulate_batches"] == 2
    assert model["schedule"]["class_path"].endswith("training.schedule.SequentialSchedule")
    assert model["per_block"]["block1"] == {"noise": "all", "lr_factor": 1.0}
    assert model["per_block"]["block2"]["projector"]["init_args"] == {"widths": [8, 8]}
    assert model["per_block"]["block3"]["stop_epoch"] == 1
    assert "objectives" not in model
    assert any("lr_factors -> per_block" in line for line in told)
    assert renewed_config(new) == (new, []), "what is new stays"


def test_training_goes_on_from_it_to_the_same_weights(run: Path) -> None:
    """In a process without the instructions that only some processors have."""
    command = [sys.executable, "-m", "blocklearn", "fit", f"--config={run / 'config.yaml'}"]
    command += [f"--trainer.default_root_dir={run}", "--resume=auto", "--trainer.max_steps=18"]
    environment = {**os.environ, **PLAIN}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "since 0.2 written so: config.yaml: model: " in done.stderr
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    if computed_with() != EXPECTED["made_with"]:
        pytest.skip("the packages that compute have other versions")
    assert digest(state) == EXPECTED["went_on"]


def test_it_is_evaluated_by_the_configuration_beside_it(run: Path) -> None:
    checkpoint = f"--model.checkpoint={run / 'checkpoints' / 'last.ckpt'}"
    quick = ["--probe.epochs=1", "--data.num_workers=0", "--wandb.mode=disabled"]
    assert main(["test", checkpoint, *quick]) == 0
    assert len(read_results(run / "probe" / "results.json").rows) == 8


def test_a_change_is_still_noticed_across_the_versions(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fit", f"--config={run / 'config.yaml'}", f"--trainer.default_root_dir={run}"]
    changed = ["--resume=auto", "--trainer.max_steps=18", "--model.lr_factors=[1,1,1,1]"]
    assert main([*arguments, *changed]) == 1
    assert "model.per_block is " in capsys.readouterr().err


FLAGS: dict[str, Any] = {
    "--model.small_stem=true": "--model.network.small_stem=true",
    "--model.backbone_kwargs.layers": "--model.network.backbone_kwargs.layers",
    "--model.accumulate_batches": "--model.update.accumulate_batches",
    "--model.schedule=Sequential": "--model.schedule=SequentialSchedule",
    "--probe.finetune=true": "--evaluation=FineTune",
    "--probe.backbone_lr=0.1": "--evaluation.backbone_lr=0.1",
    "--model.objective": "--model.objective",
    "--data.patches": "--data.patches",
}


@pytest.mark.parametrize("old", FLAGS)
def test_an_old_flag_is_written_as_it_is_now(old: str) -> None:
    assert renewed_flag(old) == FLAGS[old]


def test_lists_on_a_command_line_become_settings_of_blocks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [
        "fit",
        "--model.lr_factors",
        "[1, 0.5]",
        "--model.noise=[all, none]",
        "--model.noise=hw",
    ]
    *kept, last = locate_configs(words).args
    assert "--model.noise=hw" in kept
    name, _, value = last.partition("=")
    assert name == "--model.per_block"
    assert json.loads(value) == {
        "block1": {"lr_factor": 1, "noise": "all"},
        "block2": {"lr_factor": 0.5, "noise": "none"},
    }
    assert "lr_factors -> per_block: {block1: {lr_factor: ...}, ...}" in capsys.readouterr().err


def test_a_moved_flag_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    args = locate_configs(["fit", "--model.small_stem", "true", "--model.compile=false"]).args
    assert "--model.network.small_stem" in args
    assert "--model.network.compile=false" in args
    told = capsys.readouterr().err
    assert "since 0.2 written so: --model.small_stem -> --model.network.small_stem; " in told


def test_old_modules_are_found_at_their_new_places() -> None:
    from blocklearn.blocks.schedule import Sequential  # pyright: ignore[reportMissingImports]
    from blocklearn.objectives.barlow_twins import BarlowTwins  # pyright: ignore

    import blocklearn

    assert Sequential is blocklearn.SequentialSchedule
    assert BarlowTwins is blocklearn.BarlowTwins
    assert (
        new_path("blocklearn.blocks.noise.GaussianNoise") == "blocklearn.blocks.noise.GaussianNoise"
    )
    assert GaussianNoise.__module__ == "blocklearn.blocks.noise"
    assert new_path("blocklearn.data.views.GlyphViews").endswith("images.glyph_views.GlyphViews")
    assert new_path("torch.optim.SGD") == "torch.optim.SGD"


@pytest.mark.parametrize("old", sorted(MOVED))
def test_every_old_path_leads_somewhere(old: str) -> None:
    from importlib.util import find_spec

    target = new_path(f"blocklearn.{old}")
    module = target.rpartition(".")[0] if target.rpartition(".")[2][0].isupper() else target
    assert find_spec(module), target
