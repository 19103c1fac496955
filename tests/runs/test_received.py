"""A run folder from a stranger: what it may make blocklearn do."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file, save_file
from test_cli import fit

import blocklearn.callbacks
from blocklearn.__main__ import main
from blocklearn.runs.received import _own_parts
from blocklearn.runs.run_folder import shipped_configs

Change = Callable[[dict[str, Any], Path], None]


@pytest.fixture
def received(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def rewrite(folder: Path, change: Change) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def last(folder: Path) -> str:
    return f"--model.checkpoint={folder / 'checkpoints' / 'last.ckpt'}"


def run(*arguments: str) -> int:
    try:
        return main([*arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


def touch(folder: Path) -> dict[str, Any]:
    return {"class_path": "os.system", "init_args": {"command": f"touch {folder}/OWNED"}}


def popen(folder: Path) -> dict[str, Any]:
    return {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", f"{folder}/OWNED"]}}


def at(place: str, payload: Callable[[Path], Any]) -> Change:
    *parents, name = place.split(".")

    def change(config: dict[str, Any], folder: Path) -> None:
        for parent in parents:
            config = config[parent]
        config[name] = payload(folder)

    return change


def pickled_optimizer(config: dict[str, Any], folder: Path) -> None:
    class Owned:
        def __reduce__(self) -> Any:
            return Path.touch, (folder / "OWNED",)

    (folder / "evil.pt").write_bytes(pickle.dumps(Owned()))
    loading = {"f": f"{folder}/evil.pt", "weights_only": False}
    config["model"]["optimizer"] = {"class_path": "torch.load", "init_args": loading}


def evil_backbone(config: dict[str, Any], folder: Path) -> None:
    pickled_optimizer(config, folder)
    config["model"]["optimizer"] = {"class_path": "torch.optim.SGD"}
    config["model"]["network"]["backbone_kwargs"]["checkpoint_path"] = f"{folder}/evil.pt"


NAMES_A_CLASS = {
    "optimizer": at("model.optimizer", touch),
    "optimizer as text": at("model.optimizer", lambda folder: str(touch(folder))),
    "optimizer through our own modules": at(
        "model.optimizer",
        lambda f: {**popen(f), "class_path": "blocklearn.cli.demo.subprocess.Popen"},
    ),
    "optimizer through torch.optim": at(
        "model.optimizer",
        lambda f: {**touch(f), "class_path": "torch.optim.lr_scheduler.types.FunctionType"},
    ),
    "objective": at("model.objective", touch),
    "an objective of one block": at(
        "model.per_block", lambda folder: {"block2": {"objective": touch(folder)}}
    ),
    "a projector of one block": at(
        "model.per_block", lambda folder: {"block2": {"projector": touch(folder)}}
    ),
    "a part of the objective": at("model.objective.init_args.criterion", popen),
    "noise": at("model.noise", popen),
    "schedule": at("model.schedule", popen),
    "data": at("data", touch),
    "recipe": at("data.init_args.recipe", touch),
    "unpickling": pickled_optimizer,
    "a function of ours that removes folders": at(
        "model.objective",
        lambda f: {
            "class_path": "blocklearn.data.stored_views.store_views",
            "init_args": {
                "folder": str(f / "checkpoints"),
                "batches": [],
                "count": 0,
                "fingerprint": "",
            },
        },
    ),
}


@pytest.mark.parametrize("verb", ["test", "predict"])
@pytest.mark.parametrize("name", NAMES_A_CLASS)
def test_a_configuration_beside_a_checkpoint_runs_nothing(
    received: Path, capsys: pytest.CaptureFixture[str], name: str, verb: str
) -> None:
    rewrite(received, NAMES_A_CLASS[name])
    before = sorted(path.name for path in received.iterdir())
    assert run(verb, last(received)) in (1, 2)
    assert sorted(path.name for path in received.iterdir()) == before
    assert (received / "checkpoints" / "last.ckpt").exists()
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1, lines
    assert "--trust_config true" in lines[0]


@pytest.mark.parametrize(
    "change",
    [
        at("model.network.backbone_kwargs.block", popen),
        evil_backbone,
        at("model.network.backbone_kwargs.layers", lambda folder: [1_000_000, 1, 1, 1]),
        at("model.network.backbone_kwargs.channels", lambda folder: [40_000, 40_000, 8, 8]),
        at(
            "model.objective.init_args.projector.init_args.widths",
            lambda folder: [200_000, 200_000],
        ),
    ],
    ids=[
        "code in the backbone's arguments",
        "a pickle as the backbone's weights",
        "layers",
        "channels",
        "projector",
    ],
)
def test_values_that_would_run_or_fill_the_memory_are_refused_quickly(
    received: Path, capsys: pytest.CaptureFixture[str], change: Change
) -> None:
    rewrite(received, change)
    assert run("test", last(received)) == 1
    assert not (received / "OWNED").exists()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("blocklearn: error: ")


def test_callbacks_loggers_and_folders_of_a_received_run_are_left_behind(
    received: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    keep = {
        "class_path": "lightning.pytorch.callbacks.LambdaCallback",
        "init_args": {"setup": "os.system"},
    }

    def change(config: dict[str, Any], folder: Path) -> None:
        config["trainer"] |= {
            "callbacks": [keep],
            "default_root_dir": str(elsewhere),
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(elsewhere)},
            },
            "plugins": [touch(folder)],
            "profiler": popen(folder),
        }

    rewrite(received, change)
    assert run("test", last(received)) == 0
    assert not elsewhere.exists()
    assert not (received / "OWNED").exists()
    assert (received / "probe" / "results.json").exists()


def test_an_own_part_passes_by_hand_or_where_the_configuration_is_trusted(
    received: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own_parts.py").write_text(
        "from torch.optim import SGD\n\nclass Own(SGD):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"class_path": "own_parts.Own", "init_args": {"lr": 0.1}}
    rewrite(received, at("model.optimizer", lambda folder: own))
    assert run("predict", last(received)) == 2
    assert "model.optimizer.class_path names own_parts.Own" in capsys.readouterr().err
    assert run("predict", last(received), "--trust_config=true") == 0
    assert run("predict", last(received), "--model.optimizer=own_parts.Own") == 0
    assert run("predict", last(received), f"--config={received / 'config.yaml'}") == 0


def test_a_link_in_a_received_folder_leads_nowhere(
    received: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    names = [
        "metrics.csv",
        "probe",
        "features.safetensors",
        ".features.safetensors.unfinished",
        "export",
    ]
    for name in names:
        path = received / name
        held = path.exists() and path.rename(tmp_path / "held")
        path.symlink_to(target)
        for verb in ("test", "predict"):
            assert run(verb, last(received)) == 1
        assert run("export", str(received / "checkpoints" / "last.ckpt")) == 1
        assert f"{path} is a link to {target}" in capsys.readouterr().err
        path.unlink()
        if held:
            held.rename(path)
    (received / "probe").mkdir()
    (received / "probe" / "results.json").symlink_to(target)
    assert run("test", last(received)) == 1
    assert target.read_text() == "mine"


def test_a_hostile_checkpoint_removes_and_overwrites_nothing(
    received: Path, tmp_path: Path
) -> None:
    """Whatever the states of callbacks name: the run goes on, and what they name stays."""
    victim, file = tmp_path / "victim", tmp_path / "other.ckpt"
    victim.mkdir()
    (victim / "thesis.tex").write_text("years")
    file.write_text("weights")
    path = received / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    own = ModelCheckpoint(received / "checkpoints", "{step}", every_n_epochs=1)
    hostile = {
        "best_model_score": None,
        "best_model_path": str(victim),
        "last_model_path": str(file),
        "kth_best_model_path": str(victim),
        "best_k_models": {str(victim): torch.tensor(0.0), str(file): torch.tensor(0.0)},
        "kth_value": torch.tensor(0.0),
        "dirpath": str(received / "checkpoints"),
    }
    states = ["LastCheckpoint", "LastCheckpoint{'monitor': None}", own.state_key, "ModelCheckpoint"]
    content["callbacks"] = {name: dict(hostile) for name in states}
    torch.save(content, path)
    keep = "lightning.pytorch.callbacks.ModelCheckpoint"
    config = tmp_path / "keep.yaml"
    init = {"dirpath": str(received / "checkpoints"), "filename": "{step}", "every_n_epochs": 1}
    config.write_text(
        yaml.safe_dump({"trainer": {"callbacks": [{"class_path": keep, "init_args": init}]}})
    )
    arguments = [f"--config={config}", "--trainer.max_epochs=3", "--resume=auto"]
    with pytest.warns(UserWarning, match="Please add the following callbacks"):
        assert fit(received, *arguments) == 0
    assert (victim / "thesis.tex").read_text() == "years"
    assert file.read_text() == "weights"
    assert len(list((received / "checkpoints").iterdir())) == 2, (
        "the ModelCheckpoint still removes its own"
    )


STRUCTURES = {
    "a million layers": lambda s: s["backbone_kwargs"].update(layers=[1_000_000, 1, 1, 1]),
    "ten thousand layers": lambda s: s["backbone_kwargs"].update(layers=[10_000, 1, 1, 1]),
    "more layers than numbers have": lambda s: s["backbone_kwargs"].update(
        layers=[10**18, 1, 1, 1]
    ),
    "wide channels": lambda s: s["backbone_kwargs"].update(channels=[50_000, 50_000, 8, 8]),
    "a file for its weights": lambda s: s["backbone_kwargs"].update(checkpoint_path="/etc/passwd"),
    "a text for its arguments": lambda s: s.update(backbone_kwargs="{}"),
    "a number for its name": lambda s: s.update(backbone=50),
    "a name that leads to a hub": lambda s: s.update(backbone="hf-hub:someone/something"),
    "a name that leads to a folder": lambda s: s.update(backbone="local-dir:/tmp"),
    "blocks of numbers": lambda s: s.update(blocks=[[1], [2]]),
    "blocks of unknown stages": lambda s: s.update(blocks=[["nowhere"]]),
    "no blocks": lambda s: s.pop("blocks"),
    "patches of patches": lambda s: s.update(patches={"size": 10**9, "stride": 1, "grid": 10**9}),
    "patches of other names": lambda s: s.update(patches={"sizes": 1}),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_a_checkpoint_says_of_its_network_is_not_believed(
    received: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = received / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    STRUCTURES[name](content["blocklearn"])
    torch.save(content, path)
    for verb in (["test", last(received)], ["export", str(path)]):
        assert run(*verb) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert line.startswith("blocklearn: error: ")


@pytest.mark.parametrize(
    "metadata",
    [
        {"backbone_kwargs": "{layers"},
        {"backbone_kwargs": "[" * 100_000},
        {"backbone_kwargs": '{"layers": [1000000, 1, 1, 1]}'},
        {"backbone_kwargs": '{"checkpoint_path": "/etc/passwd"}'},
        {"blocks": "7"},
        {"small_stem": '"yes"'},
        {"patches": "[]"},
    ],
    ids=["no JSON", "deep JSON", "layers", "a file for its weights", "blocks", "stem", "patches"],
)
def test_what_an_exported_file_says_of_its_network_is_not_believed(
    received: Path, capsys: pytest.CaptureFixture[str], metadata: dict[str, str]
) -> None:
    path = received / "backbone.safetensors"
    honest = {
        "backbone": "resnet18",
        "backbone_kwargs": "{}",
        "blocks": "[]",
        "small_stem": "false",
    }
    save_file(load_file(path), path, {**honest, **metadata})
    assert run("export", str(path)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("blocklearn: error: ")


def test_weights_under_a_wrong_name_are_one_line(
    received: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, exported = received / "checkpoints" / "last.ckpt", received / "backbone.safetensors"
    shutil.copy(checkpoint, received / "a.safetensors")
    shutil.copy(exported, received / "b.ckpt")
    (received / "c.ckpt").write_bytes(pickle.dumps({"state_dict": {}}))
    (received / "d.ckpt").write_bytes(b"\x80\x05")
    for name in ("a.safetensors", "b.ckpt", "c.ckpt", "d.ckpt"):
        assert run("test", f"--model.checkpoint={received / name}") == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert str(received / name) in line


def class_paths(content: Any) -> set[str]:
    """All that a configuration names, however deep."""
    if isinstance(content, list):
        return {path for inner in content for path in class_paths(inner)}
    if not isinstance(content, dict):
        return set()
    own = {content["class_path"]} if "class_path" in content else set()
    return own | class_paths(list(content.values()))


@pytest.mark.parametrize("config", sorted(shipped_configs().glob("*.yaml")), ids=lambda p: p.name)
def test_a_received_run_of_every_shipped_configuration_is_read(config: Path) -> None:
    named = class_paths(yaml.safe_load(config.read_text())) - {
        f"blocklearn.callbacks.{name}" for name in blocklearn.callbacks.__all__
    }
    assert named <= _own_parts()
