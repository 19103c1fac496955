import json
from pathlib import Path

import pytest
from small import same_weights, small_network, small_trainer, weights

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.data import Digits, ImageFolder
from blocklearn.data.images.digits import load_digits
from blocklearn.evaluation import KNN, Evaluation, LinearProbe, Transfer
from blocklearn.evaluation.probe_settings import ProbeSettings


def folder(root: Path, digits: tuple[int, ...], count: int = 20) -> Path:
    """Some of the digits as image files."""
    for split, samples, number in zip(("train", "val"), load_digits(), (count, 8), strict=True):
        left = dict.fromkeys(digits, number)
        for index in range(len(samples)):
            image, label = samples[index]
            if left.get(label, 0):
                left[label] -= 1
                (root / split / f"digit{label}").mkdir(parents=True, exist_ok=True)
                image.convert("RGB").save(root / split / f"digit{label}" / f"{index}.png")
    return root


def ready(evaluation: Evaluation, tmp_path: Path) -> Evaluation:
    settings = ProbeSettings(epochs=2, batch_size=16, augment=False, standardise=True)
    return evaluation.under(settings, lambda epochs: small_trainer(tmp_path, max_epochs=epochs))


def test_each_folder_has_the_values_that_it_has_alone(tmp_path: Path) -> None:
    roots = [folder(tmp_path / "low", (0, 1, 2)), folder(tmp_path / "high", (6, 7, 8, 9))]
    network, data = small_network(), Digits()
    before = weights(network)
    data.setup("test")
    transfer = Transfer([str(root) for root in roots], KNN(k=[1, 20]))
    rows = ready(transfer, tmp_path).run(network, data)
    assert same_weights(before, weights(network))
    assert [(row.stage, row.feature) for row in rows] == [
        (f"layer{k}", feature) for k in range(1, 5) for feature in ("raw", "head")
    ]
    for root in roots:
        alone = ImageFolder(
            root, recipe=lambda spec: data.recipe, image_size=20, batch_size=64, num_workers=0
        )
        alone.setup("test")
        for row, own in zip(rows, ready(KNN(k=[1, 20]), tmp_path).run(network, alone), strict=True):
            assert {name: row.values[f"{root.name}/{name}"] for name in own.values} == own.values
    for row in rows:
        assert row.values["mean"] == (row.values["low/k20"] + row.values["high/k20"]) / 2
    assert max(row.values["mean"] for row in rows) > 50


def test_the_rate_that_was_chosen_on_each_stands_in_the_row(tmp_path: Path) -> None:
    roots = [str(folder(tmp_path / "a", (0, 1))), str(folder(tmp_path / "b", (2, 3)))]
    data = Digits()
    data.setup("test")
    rows = ready(Transfer(roots, LinearProbe(lrs=[0.01, 0.1])), tmp_path).run(small_network(), data)
    assert all(row.settings[f"{name}/lr"] in (0.01, 0.1) for row in rows for name in "ab")


def test_one_command_makes_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = [str(folder(tmp_path / "low", (0, 1, 2))), str(folder(tmp_path / "high", (7, 8)))]
    arguments = [
        "test",
        "--config=bt_digits.yaml",
        "--evaluation=Transfer",
        f"--evaluation.roots={roots}",
        "--evaluation.evaluation=KNN",
        "--evaluation.evaluation.k=[20]",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
        f"--trainer.default_root_dir={tmp_path}",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
    ]
    assert main(arguments) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Transfer, nearest neighbours on low, high, accuracy in %" in told
    assert "low k = 20" in told
    results = json.loads((tmp_path / "transfer_knn" / "results.json").read_text())
    assert results["dataset"] == "low, high"
    assert results["values"] == ["mean", "low/k20", "high/k20"]
    assert results["settings"]["roots"] == roots
    assert results["settings"]["evaluation"]["class"] == "KNN"
    (metrics,) = tmp_path.rglob("metrics.csv")
    assert "probe/layer1/raw/high/k20" in metrics.read_text()


def test_each_folder_is_trained_on_from_the_first_epoch(tmp_path: Path) -> None:
    """By one Trainer, as the command line has."""
    roots = [str(folder(tmp_path / name, (0, 1))) for name in ("a", "b")]
    arguments = [
        "test",
        "--config=bt_digits.yaml",
        "--evaluation=Transfer",
        f"--evaluation.roots={roots}",
        "--probe={epochs: 20, batch_size: 16}",
        "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
        f"--trainer.default_root_dir={tmp_path}",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
    ]
    assert main(arguments) == 0
    rows = json.loads((tmp_path / "transfer_probe" / "results.json").read_text())["rows"]
    assert max(row["a/top1"] for row in rows) > 90
    assert max(row["b/top1"] for row in rows) > 90


def test_folders_of_one_name_are_told_apart_by_what_they_lie_in(tmp_path: Path) -> None:
    from blocklearn.evaluation.transfer import names_of

    assert names_of(["/a/x", "/b/x", "/b/y"]) == ["a_x", "b_x", "b_y"]
    assert names_of(["/a/x/"]) == ["x"]
    with pytest.raises(UserError, match="the same folder twice"):
        names_of(["/a/x", "/a/../a/x"])


def test_a_folder_that_is_not_there_is_told_before_any_is_evaluated(tmp_path: Path) -> None:
    data = Digits()
    data.setup("test")
    network = small_network()
    network.walked[0].stages[0].register_forward_hook(lambda *_: pytest.fail("computed"))
    roots = [str(folder(tmp_path / "a", (0, 1))), str(tmp_path / "none")]
    with pytest.raises(UserError, match="there is no folder"):
        ready(Transfer(roots, KNN(k=[1])), tmp_path).run(network, data)


def test_no_folders_and_a_transfer_within_one_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a list of folders in roots"):
        Transfer([])
    with pytest.raises(ValueError, match="an evaluation that is no Transfer"):
        Transfer(["a"], Transfer(["b"]))
