"""Where a command writes, and from where data are found: moved runs, other working folders, runs
that never began."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from test_cli import SMALL, fit

from blocklearn.__main__ import main

CLASSES = ("cats", "dogs")
NEAREST = ["--evaluation=KNN", "--evaluation.k=[1]"]
OF_IMAGES = [
    "--data=ImageFolder",
    "--data.root=images",
    "--data.image_size=20",
    "--data.batch_size=8",
    "--data.num_workers=0",
]


def images(folder: Path) -> None:
    draw = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


def test_a_trial_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, "--trainer.fast_dev_run=true"]) == 0
    assert fit(tmp_path / "named", "--trainer.fast_dev_run=true") == 0
    assert not list(tmp_path.iterdir())
    assert "Run folder" not in capsys.readouterr().out


@pytest.mark.parametrize("folder", [[], ["--trainer.default_root_dir=mine/run"]])
@pytest.mark.parametrize(
    "wrong",
    [
        ["--data=ImageFolder", "--data.root=nowhere"],
        ["--model.blocks=[[layer1],[layer9]]"],
        ["--data.batch_size=5000"],
        ["--trainer.callbacks+=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.1"],
    ],
)
def test_a_run_that_is_refused_leaves_no_folder(
    folder: list[str], wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, *folder, *wrong]) == 1
    assert not list(tmp_path.glob("**/run*/*"))
    assert not list(tmp_path.glob("runs"))


def test_a_runs_data_are_found_from_another_folder_and_where_both_were_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    images(project / "images")
    elsewhere.mkdir()
    monkeypatch.chdir(project)
    assert fit(Path("runs/one"), *OF_IMAGES) == 0
    monkeypatch.chdir(elsewhere)
    test = ["test", *NEAREST, "--model.checkpoint"]
    assert main([*test, str(project / "runs/one/checkpoints/last.ckpt")]) == 0
    config = project / "runs" / "one" / "config.yaml"
    assert yaml.safe_load(config.read_text())["data"]["init_args"]["root"] == str(
        project / "images"
    )
    moved = tmp_path / "moved"
    project.rename(moved)
    capsys.readouterr()
    assert main([*test, str(moved / "runs/one/checkpoints/last.ckpt")]) == 0
    assert f"taking {moved / 'images'}, beside the run" in capsys.readouterr().err


def test_a_moved_run_is_tested_where_it_lies_now_whatever_its_configuration_says(
    tmp_path: Path,
) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    assert fit(before) == 0
    before.rename(now)
    checkpoint = f"--model.checkpoint={now / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", f"--config={now / 'config.yaml'}", checkpoint, *NEAREST]) == 0
    assert (now / "knn" / "results.json").is_file()
    assert not before.exists()


def test_the_best_state_is_kept_when_asked_and_known_again_when_the_run_goes_on(
    tmp_path: Path,
) -> None:
    """After it was moved too; what is best is compared with the values in metrics.csv."""
    first, run = tmp_path / "first", tmp_path / "run"
    asked = [
        "--trainer.callbacks+=BestCheckpoint",
        "--trainer.callbacks.monitor=block4/val_loss",
        "--trainer.callbacks.mode=min",  # it rises here: the first is the best
    ]
    assert fit(first, *asked) == 0
    best = torch.load(first / "checkpoints" / "best.ckpt", weights_only=True)
    first.rename(run)
    more = [*asked, "--resume=auto", "--trainer.max_epochs=2", "--model.optimizer.lr=0.002"]
    assert fit(run, *more) == 0
    files = {path.name for path in (run / "checkpoints").iterdir()}
    kept = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    (state,) = [value for name, value in last["callbacks"].items() if "Best" in name]
    rows = [line for line in (run / "metrics.csv").read_text().splitlines() if line]
    names = rows[0].split(",")
    values = [row.split(",")[names.index("block4/val_loss")] for row in rows[1:]]
    assert files == {"best.ckpt", "last.ckpt"}
    measured = [float(value) for value in values if value]
    assert float(state["best_model_score"]) == pytest.approx(min(measured))
    assert kept["global_step"] == (3 if measured[0] == min(measured) else 6)
    assert best["global_step"] == 3
    checkpoint = f"--model.checkpoint={run / 'checkpoints' / 'best.ckpt'}"
    assert main(["test", checkpoint, *NEAREST]) == 0
    told = json.loads((run / "knn" / "results.json").read_text())["checkpoint"]
    assert told.endswith("best.ckpt")
