"""The command line as a user drives it. In processes of their own: test_cli_processes.py."""

import csv
import json
import re
from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from small import NARROW

from blocklearn.__main__ import main
from blocklearn.evaluation.linear_classifiers import LinearClassifiers

ROOT = Path(__file__).parents[1]
SMALL = [
    "--config=bt_digits.yaml",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=1",
    "--trainer.check_val_every_n_epoch=1",
    *NARROW,
    "--data.batch_size=16",
    "--probe.epochs=2",
    "--model.lr_schedule.warmup_epochs=1",
]


def fit(folder: Path, *changes: str) -> int:
    return main(["fit", *SMALL, f"--trainer.default_root_dir={folder}", *changes])


def read_metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert fit(folder) == 0
    return folder


def test_a_run_folder_holds_what_scripts_rely_on(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} >= {
        "config.yaml",
        "checkpoints",
        "metrics.csv",
        "backbone.safetensors",
    }
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["last.ckpt"]
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["model"]["objective"]["init_args"]["pooling"]["init_args"]["width"] == 16
    assert config["data"]["init_args"]["batch_size"] == 16


def test_the_metrics_tell_every_blocks_loss_and_rate(trained: Path) -> None:
    rows = [row for row in read_metrics(trained) if row["block1/loss"]]
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    for block in range(1, 5):
        assert rows[0].keys() >= {
            f"block{block}/{name}" for name in ("loss", "lr", "on_diag", "off_diag", "val_loss")
        }
        assert [float(row[f"block{block}/lr"]) for row in rows] == pytest.approx(
            [0, 0.002 / 3, 0.004 / 3]
        )


def test_the_backbone_loads_into_plain_timm(trained: Path) -> None:
    model = timm.create_model("resnet18", num_classes=0, layers=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    model.load_state_dict(load_file(trained / "backbone.safetensors"), strict=True)


def test_the_saved_configuration_repeats_the_run_bitwise(trained: Path, tmp_path: Path) -> None:
    arguments = [
        "fit",
        f"--config={trained / 'config.yaml'}",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    assert main(arguments) == 0
    first, second = (load_file(folder / "backbone.safetensors") for folder in (trained, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_test_needs_nothing_but_the_checkpoint(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = trained / "checkpoints" / "last.ckpt"
    assert main(["test", f"--model.checkpoint={checkpoint}"]) == 0
    results = json.loads((trained / "probe" / "results.json").read_text())
    assert results["checkpoint"] == str(checkpoint)
    assert (results["dataset"], results["num_classes"]) == ("digits", 10)
    assert [(row["stage"], row["index"], row["feature"]) for row in results["rows"]] == [
        (f"layer{k}", k, feature) for k in range(1, 5) for feature in ("raw", "head")
    ]
    assert all({"lr", "epochs", "top1", "top5"} <= row.keys() for row in results["rows"])
    assert (trained / "probe" / "accuracy_by_block.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "layer4" in printed
    assert f"{results['rows'][0]['top1']:.2f}" in printed
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["model"]["checkpoint"] is None  # still the one of the training run
    assert not list((trained / "probe").rglob("*.ckpt"))


def test_probes_train_for_their_own_epochs_not_the_runs(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    monkeypatch.setattr(
        LinearClassifiers, "on_train_epoch_end", lambda self: epochs.append(self.current_epoch)
    )
    checkpoint = f"--model.checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    assert (
        main(["test", checkpoint, "--probe.epochs=5", f"--trainer.default_root_dir={tmp_path}"])
        == 0
    )
    assert epochs == [0, 1, 2, 3, 4]


def test_an_end_to_end_checkpoint_is_probed_under_the_blockwise_configuration(
    tmp_path: Path,
) -> None:
    run, probed = tmp_path / "run", tmp_path / "probed"
    assert fit(run, "--model.blocks=end_to_end") == 0
    checkpoint = f"--model.checkpoint={run / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", *SMALL, checkpoint, f"--trainer.default_root_dir={probed}"]) == 0
    rows = json.loads((probed / "probe" / "results.json").read_text())["rows"]
    assert [(row["index"], row["feature"]) for row in rows] == [
        (1, "raw"),
        (2, "raw"),
        (3, "raw"),
        (4, "raw"),
        (4, "head"),
    ]


def test_an_overlay_changes_how_a_run_is_evaluated(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fine-tuning on a tenth of the labels, upon the run's own network and data."""
    checkpoint = trained / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    overlay = [
        "--config=probe_semi_10pct.yaml",
        "--probe.epochs=1",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    assert main(["test", f"--model.checkpoint={checkpoint}", *overlay]) == 0
    folder = tmp_path / "finetune_0.1"
    results = json.loads((folder / "results.json").read_text())
    (row,) = results["rows"]
    assert (row["stage"], row["index"], row["feature"], row["lr"]) == (
        "layer4",
        4,
        "finetuned",
        0.5,
    )
    assert results["dataset"] == "digits"
    assert (folder / "accuracy_by_block.png").read_bytes().startswith(b"\x89PNG")
    assert "Fine-tuning with 10% of the labels on digits" in " ".join(
        capsys.readouterr().out.split()
    )
    assert checkpoint.read_bytes() == before


def test_a_backbone_without_its_run_is_probed_under_the_given_grouping(
    trained: Path, tmp_path: Path
) -> None:
    """A file of weights says nothing of blocks; it gives what the checkpoint gives."""
    tops = []
    for name in ("backbone.safetensors", "checkpoints/last.ckpt"):
        folder = f"--trainer.default_root_dir={tmp_path}"
        assert main(["test", *SMALL, f"--model.checkpoint={trained / name}", folder]) == 0
        rows = json.loads((tmp_path / "probe" / "results.json").read_text())["rows"]
        assert [row["feature"] for row in rows] == ["raw", "head"] * 4
        tops.append([row["top1"] for row in rows if row["feature"] == "raw"])
    assert tops[0] == tops[1]


def test_validate_and_predict(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"--model.checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    folder = f"--trainer.default_root_dir={tmp_path}"
    assert main(["validate", checkpoint, folder]) == 0
    table = capsys.readouterr().out.partition("Local losses on held-out samples")[2]
    assert re.findall(r"│ (\w+) +│ +[\d.]+ │", table) == [f"block{k}" for k in range(1, 5)]
    assert "on_diag" in table
    assert main(["predict", checkpoint, folder]) == 0
    features = load_file(tmp_path / "features.safetensors")
    assert features["layer1/head"].shape == (1797, 16)
    assert features["label"].shape == features["index"].shape == (1797,)


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    curve = (
        "--model.lr_schedule=ConstantLR"  # so that the length of the first part does not show in it
    )
    assert fit(whole, "--trainer.max_epochs=3", curve) == 0
    assert fit(parts, "--trainer.max_epochs=1", curve) == 0
    assert fit(parts, "--trainer.max_epochs=3", curve, "--ckpt_path=last") == 0
    first, second = (load_file(folder / "backbone.safetensors") for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = [[row["step"] for row in read_metrics(folder)] for folder in (whole, parts)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            "--model.objective.projector.widths=[4,4]",
            "this checkpoint does not fit this network: other shapes",
        ),
        ("--model.blocks=end_to_end", "this checkpoint was trained with blocks"),
    ],
)
def test_another_networks_run_is_not_gone_on_with(
    trained: Path, capsys: pytest.CaptureFixture[str], change: str, complaint: str
) -> None:
    checkpoint = trained / "checkpoints" / "last.ckpt"
    before = (trained / "config.yaml").read_bytes()
    assert fit(trained, change, f"--ckpt_path={checkpoint}", "--trainer.max_epochs=3") == 1
    assert (
        f"resume: {change.removeprefix('--').split('=')[0].split('.')[0]}."
        in capsys.readouterr().err
    )
    assert fit(trained, change, f"--ckpt_path={checkpoint}", "--accept_changes=true") == 1
    assert complaint in capsys.readouterr().err
    assert not (trained / "changes.csv").exists()
    assert (trained / "config.yaml").read_bytes() == before


def test_a_run_with_a_part_of_its_own_for_one_block_is_repeated_from_its_configuration(
    tmp_path: Path,
) -> None:
    narrow = "{class_path: blocklearn.Projector, init_args: {widths: [4]}}"
    changes = [
        f"--model.per_block={{block2: {{projector: {narrow}, noise: all}}, block3: {{noise: hw}}}}",
    ]
    assert fit(tmp_path / "one", *changes) == 0
    saved = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())["model"]["per_block"]
    assert saved["block3"]["projector"] is None
    arguments = [
        "fit",
        f"--config={tmp_path / 'one' / 'config.yaml'}",
        f"--trainer.default_root_dir={tmp_path / 'two'}",
    ]
    assert main(arguments) == 0
    first, second = (load_file(tmp_path / name / "backbone.safetensors") for name in ("one", "two"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_how_a_run_was_cut_short_does_not_cut_short_its_evaluation(tmp_path: Path) -> None:
    assert fit(tmp_path, "--trainer.limit_test_batches=1", "--trainer.limit_val_batches=0") == 0
    checkpoint = f"--model.checkpoint={tmp_path / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", checkpoint]) == 0
    results = json.loads((tmp_path / "probe" / "results.json").read_text())
    # of all 360 held-out digits a whole number is right
    top1 = results["rows"][0]["top1"] / 100 * 360
    assert top1 == pytest.approx(round(top1), abs=1e-3)
    assert results["settings"]["labelled_part"] == 1


def test_an_evaluation_of_another_kind_replaces_no_other(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"--model.checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", checkpoint, "--probe.labelled_part=0.1", "--probe.batch_size=16"]) == 0
    assert "Linear probes with 10% of the labels on digits" in " ".join(
        capsys.readouterr().out.split()
    )
    results = json.loads((trained / "probe_0.1" / "results.json").read_text())
    assert results["settings"]["labelled_part"] == 0.1


@pytest.mark.parametrize("name", ["../out", "a/b", "checkpoints", ".."])
def test_results_go_nowhere_but_into_a_folder_of_their_own_in_the_run(
    trained: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    checkpoint = f"--model.checkpoint={trained / 'checkpoints' / 'last.ckpt'}"
    assert main(["test", checkpoint, f"--save_as={name}"]) == 1
    assert "save_as: " in capsys.readouterr().err
    assert not (trained.parent / "out").exists()


def test_a_trained_run_is_not_overwritten(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert fit(trained) == 1
    assert "holds a trained run already: go on with --resume auto" in capsys.readouterr().err
    assert (trained / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_without_a_folder_every_run_gets_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["fit", *SMALL]) == 0
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    assert all((run / "checkpoints" / "last.ckpt").is_file() for run in runs)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--model.backbon=resnet18"], 2, "did you mean --model.backbone?"),
        (["--model.objective.pooling.widht=5"], 2, "widht is not accepted; did you mean width?"),
        (
            ["--data.target=speaker"],
            2,
            "data: this data set has one labelling only, no targets to choose from",
        ),
        (
            ["--data.recipe.colour=device"],
            2,
            "colour is not accepted here; it is for BarlowTwinsViews, SmallImageViews",
        ),
        (
            ["--model.recompute=all"],
            2,
            "model.recompute: should be one of nothing, cheap, views, units, got all",
        ),
        (
            ["--model.recompute=[views,units,views,units,views]"],
            1,
            "per_block has settings for block5",
        ),
        (["--trainer.max_epoch=5"], 2, "did you mean --trainer.max_epochs?"),
        (["--model.backbone=resnet5O"], 1, "timm has no model 'resnet5O'. Did you mean"),
        (
            ["--model.blocks=[[layer1],[layer2],[layer3,layer9]]"],
            1,
            "no stage 'layer9'; its stages are layer1",
        ),
        (["--model.blocks=sideways"], 1, "per_stage"),
        (
            ["--data=CIFAR10", "--data.root=/nowhere"],
            1,
            "CIFAR-10 is not in /nowhere/cifar-10-batches-py",
        ),
        (
            ["--data=ImageFolder", "--data.root=/nowhere"],
            1,
            "there is no folder /nowhere; name one with --data.root",
        ),
        (["--data.batch_size=1"], 1, "a batch of 1 sample"),
        (["--data.batch_size=5000"], 1, "fewer than one batch of 5000"),
        (["--model.checkpoint=/nowhere.ckpt"], 1, "there is no file /nowhere.ckpt"),
        (["--ckpt_path=/nowhere.ckpt"], 1, "there is no file /nowhere.ckpt"),
        (["--config=bt_digit.yaml"], 1, "did you mean bt_digits.yaml?"),
        (
            ["--model.objective.pooling=null"],
            1,
            "pooling and projector cannot be null; GlobalPooling is the plain mean",
        ),
        (["--model.optimizer.lr=-1"], 1, "optimizer: Invalid learning rate: -1"),
        (
            ["--model.objective.pooling=LocalPooling", "--model.objective.pooling.grid=9"],
            1,
            "positions, not 9 a side",
        ),
        (["--model.objective.pooling.kernel_size=5"], 1, "kernel_size is 1 or 3, got 5"),
        (["--model.objective.criterion.lambd=-1"], 1, "BarlowTwins needs lambd >= 0"),
        (
            ["--model.schedule=SequentialSchedule", "--model.schedule.shares=[1,1]"],
            1,
            "2 shares for 4 blocks",
        ),
        (
            ["--trainer.gradient_clip_val=1"],
            1,
            "--model.update.gradient_clip_norm 1 does it block by block",
        ),
        (
            ["--trainer.accumulate_grad_batches=2"],
            1,
            "--model.update.accumulate_batches 2 does it block by block",
        ),
        (
            ["--model.backbone=vgg11"],
            1,
            "unexpected keyword argument 'layers'; they are set by --model.network.backbone_kwargs",
        ),
        (
            ["--model.backbone=vit_tiny_patch16_224", "--model.network.backbone_kwargs={}"],
            1,
            "takes images of 224 pixels, the data makes 20: set --data.image_size 224, or",
        ),
    ],
)
def test_bad_input_is_one_clear_line_before_any_training(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    complaint: str,
) -> None:
    try:
        returned = fit(tmp_path, *arguments)
    except SystemExit as stop:
        returned = stop.code
    printed = capsys.readouterr().err.strip().splitlines()
    assert returned == status
    assert complaint in printed[-1]
    assert len([line for line in printed if "error" in line]) == 1
    assert not (tmp_path / "checkpoints").exists()


def test_what_only_passes_arguments_on_is_not_suggested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("arg", "kwarg"):
        with pytest.raises(SystemExit):
            fit(tmp_path, f"--data.{wrong}=1")
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"data: {wrong} is not accepted" in line
        assert f"{wrong}s?" not in line


@pytest.mark.parametrize(
    ("config", "data", "complaint"),
    [
        (
            "gim_cifar10",
            "SpokenDigits",
            "SpokenDigits is sound, and the recipe is one for images: .*--data.recipe Window",
        ),
        (
            "gim_fsdd",
            "Digits",
            "the recipe WindowViews is one for sound, the data set has images; choose one",
        ),
    ],
)
def test_a_recipe_of_the_other_kind_of_data_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, data: str, complaint: str
) -> None:
    arguments = [
        f"--config={config}.yaml",
        f"--data={data}",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    assert main(["fit", *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(complaint, line)


@pytest.mark.parametrize("flag", ["--data=CIFAR10", "--model.backbone=resnet50"])
def test_a_part_is_not_chosen_over_the_digits_recipe_by_accident(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", flag, f"--trainer.default_root_dir={tmp_path}"]) == 1
    assert "needs a configuration to change: name one with --config" in capsys.readouterr().err


def test_an_unknown_key_in_a_file_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("model:\n  backbon: resnet18\n")
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path, f"--config={path}")
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "backbon" in line
    assert f"config: {path}: model: backbon is not accepted; did you mean backbone?" in line


def test_a_checkpoint_that_does_not_fit_is_one_clear_line(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "test",
        *SMALL,
        f"--model.checkpoint={trained / 'checkpoints' / 'last.ckpt'}",
        "--model.backbone=resnet34",
    ]
    assert main(arguments) == 1
    assert (
        "was trained with backbone resnet18, this configuration says resnet34"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("number", [0, 1], ids=["flags", "yaml"])
def test_a_stranger_adds_parts_by_their_class_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The criterion, pooling, noise and schedule that docs/extending.md shows, from a file outside
    of the package."""
    text = (ROOT / "docs" / "extending.md").read_text()
    (tmp_path / "my_parts.py").write_text(text.split("```python\n")[2].split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    command = (
        text.split("```\nPYTHONPATH=. blocklearn ")[3].split("```")[0].replace("\\", "").split()
    )
    changes = [command[3:], [f"--config={tmp_path / 'own.yaml'}"]][number]
    assert fit(tmp_path / "run", *changes) == 0
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["model"]
    assert (saved["schedule"]["class_path"], saved["noise"]["init_args"]["part"]) == (
        "my_parts.OneEpochApart",
        0.2,
    )
    row = read_metrics(tmp_path / "run")[0]
    assert row["block1/loss"]
    assert not row.get("block2/loss"), "block 2 begins an epoch later"
    if number == 0:
        assert "block1/cosine" in row
        assert saved["objective"]["init_args"]["pooling"]["init_args"]["power"] == 0.5


def test_a_stranger_adds_a_method_by_its_class_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data set, objective, metric, execution and evaluation of docs/extending.md, and its
    commands."""
    text = (ROOT / "docs" / "extending.md").read_text()
    (tmp_path / "my_method.py").write_text(text.split("```python\n")[1].split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    fits, tests = (
        part.split("```")[0].replace("\\", "").split()
        for part in text.split("```\nPYTHONPATH=. blocklearn ")[1:3]
    )
    assert fit(tmp_path / "run", *fits[3:]) == 0
    row = read_metrics(tmp_path / "run")[0]
    assert all(row[f"block{k}/{name}"] for k in range(1, 5) for name in ("error", "spread"))
    checkpoint = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    tests[tests.index("RUN/checkpoints/last.ckpt")] = checkpoint
    assert main([*tests, "--data.num_workers=0"]) == 0
    assert "Nearest class mean on disks, accuracy in %" in " ".join(capsys.readouterr().out.split())
    results = json.loads((tmp_path / "run" / "nearest_mean" / "results.json").read_text())
    assert {row["feature"] for row in results["rows"]} == {"raw", "guess"}
    assert main(["export", checkpoint]) == 0
    heads = load_file(tmp_path / "run" / "export" / "heads.safetensors")
    assert {name.split("/")[1] for name in heads} == {"guess.weight", "guess.bias"}


def test_the_python_that_loads_a_runs_backbone_into_timm_runs(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    _, load, *_ = (ROOT / "docs" / "weights.md").read_text().split("```python\n")
    exec(load.split("```")[0], {})
