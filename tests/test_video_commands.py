"""Every command on video, as a user drives it, on clips in the layout of UCF101."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from videos import write_ucf101

from blocklearn.__main__ import main
from blocklearn.runs.run_folder import find_config

CONFIGS = ["videomae_blockwise.yaml", "videomae_sequential.yaml", "videomae_end_to_end.yaml"]
TWO_STEPS = [
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
    "--model.lr_schedule.warmup_epochs=0",
    "--data.batch_size=4",
    "--data.num_workers=0",
    "--data.test_part=1",
]
NARROW = [
    "--trainer.precision=32-true",
    "--model.network.backbone_kwargs={depth: 4, embed_dim: 24, num_heads: 2}",
    "--model.objective.depth=1",
    "--model.objective.width=24",
    "--model.objective.heads=2",
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 66 frames; a clip of the recipes is taken from 64."""
    return write_ucf101(tmp_path_factory.mktemp("ucf101"), groups=2, clips=2, frames=66)


def fit(config: str, clips: Path, folder: Path, *flags: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        where = [f"--data.root={clips}", f"--trainer.default_root_dir={folder}"]
        assert main(["fit", f"--config={config}", *where, *TWO_STEPS, *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(CONFIGS[0], clips, tmp_path_factory.mktemp("run"), *NARROW)


@pytest.mark.parametrize("config", CONFIGS[1:])
def test_every_recipe_takes_two_steps(config: str, clips: Path, tmp_path: Path) -> None:
    fit(config, clips, tmp_path, *NARROW)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_every_recipe_takes_two_steps_at_its_full_size(
    config: str, clips: Path, tmp_path: Path
) -> None:
    fit(config, clips, tmp_path)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_recipes_of_video_differ_in_blocks_schedule_and_length_alone() -> None:
    first, *others = (yaml.safe_load(find_config(name).read_text()) for name in CONFIGS)
    for other in others:
        other["model"]["blocks"] = first["model"]["blocks"]
        other["trainer"]["max_epochs"] = first["trainer"]["max_epochs"]
        other["model"].pop("schedule", None)
        assert other == first


def test_recipes_of_images_differ_in_blocks_alone() -> None:
    first, other = (
        yaml.safe_load(find_config(f"mae_{name}.yaml").read_text())
        for name in ("blockwise", "end_to_end")
    )
    assert other["model"].pop("blocks") == "end_to_end"
    assert first["model"].pop("blocks") == 4
    assert other == first


@pytest.mark.parametrize(
    ("evaluation", "folder", "values"),
    [
        ("LogisticRegression", "logistic", {"top1"}),
        ("Retrieval", "retrieval", {"map", "hit1", "hit5", "hit10"}),
        ("Reconstruction", "reconstruction", {"masked_mse", "mean_mse"}),
    ],
)
def test_a_run_is_evaluated_behind_every_block(
    trained: Path, evaluation: str, folder: str, values: set[str]
) -> None:
    checkpoint = f"--model.checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", checkpoint, "--evaluation", evaluation]) == 0
    rows = json.loads((trained / folder / "results.json").read_text())["rows"]
    assert [row["stage"] for row in rows] == ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]
    assert all(values <= row.keys() for row in rows)


def test_an_exported_video_network_has_the_same_features(trained: Path, tmp_path: Path) -> None:
    import timm

    from blocklearn import BlockwiseModule

    path = trained / "checkpoints" / "last.ckpt"
    assert main(["export", str(path), "--to", str(tmp_path / "export")]) == 0
    network = BlockwiseModule.load_from_checkpoint(path)
    kwargs = {"depth": 4, "embed_dim": 24, "num_heads": 2}
    plain = timm.create_model("video_vit_tiny", num_classes=0, **kwargs)
    (weights,) = (tmp_path / "export").glob("*.safetensors")
    plain.load_state_dict(load_file(weights))
    clip = torch.randn(1, 3, 16, 128, 128)
    with torch.no_grad():
        assert torch.equal(network(clip), plain.eval().forward_features(clip))


def test_a_clip_of_another_length_is_refused_before_any_is_read(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--data.root={clips}", f"--trainer.default_root_dir={tmp_path}", *TWO_STEPS, *NARROW]
    assert main(["fit", f"--config={CONFIGS[0]}", *flags, "--data.frames=8"]) == 1
    assert "set --data.frames 16" in capsys.readouterr().err
