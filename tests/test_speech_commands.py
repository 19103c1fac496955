"""Every command on sound, as a user drives it: six modules of Greedy InfoMax on a few spoken
digits."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from sounds import write_librispeech, write_spoken_digits

from blocklearn.__main__ import main

RECIPE = """
seed_everything: 1
trainer: {max_epochs: 1, limit_val_batches: 1, enable_progress_bar: false, accelerator: cpu}
model:
  backbone: gim_speech_8k
  network: {backbone_kwargs: {channels: 8}}
  blocks: [[conv1], [conv2], [conv3], [conv4], [conv5], []]
  objective:
    class_path: blocklearn.TemporalInfoNCE
    init_args: {steps: 3, negatives: 4, window: 32}
  per_block:
    block6:
      objective:
        class_path: blocklearn.TemporalInfoNCE
        init_args:
          steps: 3
          context: {class_path: blocklearn.RecurrentContext, init_args: {hidden: 6}}
  optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.001}}
  lr_schedule: {class_path: blocklearn.optim.ConstantLR}
data:
  class_path: blocklearn.data.SpokenDigits
  init_args:
    batch_size: 4
    num_workers: 0
    recipe:
      class_path: blocklearn.data.WindowViews
      init_args: {window: 2560, hop: 80, short: repeat}
probe: {epochs: 2, batch_size: 8, augment: false, standardise: true}
"""
FEATURES = [*((f"conv{k}", k, "raw") for k in range(1, 6)), ("conv5", 5, "context")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, its data, and a run of it."""
    folder = tmp_path_factory.mktemp("speech")
    recipe = yaml.safe_load(RECIPE)
    recipe["data"]["init_args"]["root"] = str(write_spoken_digits(folder / "sounds"))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        arguments = [
            f"--config={folder / 'recipe.yaml'}",
            f"--trainer.default_root_dir={folder / 'run'}",
        ]
        assert main(["fit", *arguments]) == 0
    return folder


def checkpoint(folder: Path) -> str:
    return f"--model.checkpoint={folder / 'run' / 'checkpoints' / 'last.ckpt'}"


def results(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "results.json").read_text())


def features(found: dict) -> list[tuple[str, int, str]]:
    return [(row["stage"], row["index"], row["feature"]) for row in found["rows"]]


def test_results_of_different_targets_lie_side_by_side(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--probe.epochs=2", "--probe.batch_size=8"]
    assert main(["test", checkpoint(trained), "--config=probe_digit.yaml", *quick]) == 0
    assert "Linear probes (digit) on spoken digits" in " ".join(capsys.readouterr().out.split())
    assert main(["test", checkpoint(trained), "--config=probe_speaker.yaml", *quick]) == 0
    digit, speaker = (results(trained / "run", name) for name in ("probe_digit", "probe_speaker"))
    assert [(found["target"], found["num_classes"]) for found in (digit, speaker)] == [
        ("digit", 10),
        ("speaker", 2),
    ]
    assert features(digit) == features(speaker) == FEATURES
    assert (speaker["settings"]["optimizer"], speaker["settings"]["lr_schedule"]) == (
        "adam",
        "constant",
    )
    assert (trained / "run" / "probe_digit" / "metrics.csv").is_file()
    assert not (trained / "run" / "probe").exists()


def test_an_untrained_network_is_probed_like_a_trained_one(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    recipe = f"--config={trained / 'recipe.yaml'}"
    assert main(["test", recipe, "--config=probe_digit.yaml", "--probe.epochs=2"]) == 0
    assert "the network has its initial weights" in capsys.readouterr().err
    (run,) = (tmp_path / "runs").iterdir()
    found = results(run, "probe_digit")
    assert found["checkpoint"] is None
    assert features(found) == FEATURES


def test_an_untrained_networks_results_replace_no_trained_ones(trained: Path) -> None:
    quick = [
        f"--config={trained / 'run' / 'config.yaml'}",
        "--data.target=digit",
        "--probe.epochs=1",
    ]
    assert (
        main(["test", *quick, f"--trainer.default_root_dir={trained / 'run'}", checkpoint(trained)])
        == 0
    )
    assert main(["test", *quick, f"--trainer.default_root_dir={trained / 'run'}"]) == 0
    assert results(trained / "run", "probe_digit")["checkpoint"] is not None
    assert results(trained / "run", "probe_digit_untrained")["checkpoint"] is None


def test_phones_are_probed_frame_by_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = yaml.safe_load(RECIPE)
    recipe["model"]["backbone"] = "gim_speech"
    sounds = {"root": str(write_librispeech(tmp_path / "sounds")), "num_workers": 0}
    recipe["data"] = {"class_path": "blocklearn.data.LibriSpeech", "init_args": sounds}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arguments = [f"--config={tmp_path / 'recipe.yaml'}", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["test", *arguments, "--config=probe_phone.yaml", "--probe.epochs=1"]) == 0
    found = results(tmp_path, "probe_phone")
    assert (found["target"], found["num_classes"]) == ("phone", 41)
    assert features(found) == FEATURES
    capsys.readouterr()
    assert main(["predict", *arguments, "--data.target=phone"]) == 1
    assert (
        "the target phone has one per frame; choose another --data.target"
        in capsys.readouterr().err
    )


def test_no_loss_reaches_another_module(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["isolation", f"--config={trained / 'recipe.yaml'}"]) == 0
    printed = capsys.readouterr().out
    assert "behind conv5" in printed, "the module without a stage of its own"
    assert "Isolated: every loss reaches its own block and no other." in printed
    assert "get no gradient" not in printed


def test_the_local_losses_are_watched_on_held_out_sound(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", checkpoint(trained), "--trainer.limit_val_batches=2"]) == 0
    printed = capsys.readouterr().out
    _, losses = printed.split("Local losses")
    assert "block6" in losses
    assert "step1" not in losses


def test_features_of_sound_are_written(trained: Path) -> None:
    assert main(["predict", checkpoint(trained)]) == 0
    written = load_file(trained / "run" / "features.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in written.items()} == {
        **{f"conv{k}/raw": (42, 8) for k in range(1, 6)},
        "conv5/context": (42, 6),
        "label": (42,),
        "index": (42,),
    }
    with (trained / "run" / "features.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["path"] == "recordings/0_ada_5.wav"
    assert [row["split"] for row in rows] == ["train"] * 12 + ["test"] * 30


def test_an_exported_speech_network_loads_by_the_code_of_its_card(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained / "run" / "checkpoints" / "last.ckpt"
    assert main(["export", str(path), "--to", str(tmp_path)]) == 0
    card = (tmp_path / "README.md").read_text()
    assert "pip install blocklearn" in card
    assert "A speech backbone without classifier" in card
    assert "1905.11786" in card
    assert "2302.01647" not in card
    assert "conv5 | (an objective on the frozen features before it)" in card
    (code,) = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert "import blocklearn.backbones\n" in code
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    exec(code, made)
    saved = torch.load(path, weights_only=True)["state_dict"]
    own = {name: tensor for name, tensor in saved.items() if ".stages." in name}
    assert [tuple(tensor.shape) for tensor in made["model"].state_dict().values()] == [
        tuple(tensor.shape) for tensor in own.values()
    ]
    assert all(
        torch.equal(*pair)
        for pair in zip(made["model"].state_dict().values(), own.values(), strict=True)
    )
    heads = load_file(tmp_path / "heads.safetensors")
    assert {name.removeprefix("conv5/context.gru.") for name in heads} == {
        f"{kind}_{part}_l0" for kind in ("weight", "bias") for part in ("ih", "hh")
    }
    prefix = "blocks.5.objective.context."
    assert all(
        torch.equal(heads["conv5/context." + n.removeprefix(prefix)], saved[n])
        for n in saved
        if prefix in n
    )
