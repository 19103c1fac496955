"""What `blocklearn predict` leaves: a vector for every image, and whose it is."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from small import small_network, small_trainer
from test_cli import SMALL

from blocklearn.__main__ import main
from blocklearn.callbacks.write_features import UNREADABLE, WriteFeatures
from blocklearn.data import Digits, ImageFolder


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"scan_{number:02d}.png")


def predict(
    folder: Path, data: Any, **changes: Any
) -> tuple[dict[str, torch.Tensor], list[dict[str, str]], WriteFeatures]:
    writer = WriteFeatures(folder / "features.safetensors", {"checkpoint": "somewhere"})
    small_trainer(folder, callbacks=[writer], **changes).predict(
        small_network(), data, return_predictions=False
    )
    with (folder / "features.csv").open(newline="") as file:
        return load_file(folder / "features.safetensors"), list(csv.DictReader(file)), writer


def images(root: Path, **changes: Any) -> ImageFolder:
    return ImageFolder(root, image_size=32, batch_size=5, num_workers=0, **changes)


def test_every_image_of_an_unlabelled_folder_gets_a_vector_and_its_path(tmp_path: Path) -> None:
    """Case 4: 5 of 24, no names, not a word which or where."""
    write_images(tmp_path / "scans" / "train", 24)
    features, rows, writer = predict(tmp_path, images(tmp_path / "scans"))
    assert features["layer2/raw"].shape == (24, 8)
    assert sorted(row["path"] for row in rows) == [
        f"train/scan_{number:02d}.png" for number in range(24)
    ]
    assert [row["split"] for row in rows] == ["train"] * 19 + ["test"] * 5
    assert [int(row["row"]) for row in rows] == list(range(24))
    assert {row["label"] for row in rows} == {"-1"}
    assert writer.told() == (
        f"Written: {tmp_path / 'features.safetensors'}, 24 samples (19 of train, 5 of test), and "
        f"{tmp_path / 'features.csv'}, which says whose they are"
    )


def test_a_row_is_the_vector_of_the_image_of_that_path(tmp_path: Path) -> None:
    write_images(tmp_path / "scans" / "train", 6)
    torch.manual_seed(0)
    features, rows, _ = predict(tmp_path, data := images(tmp_path / "scans"))
    torch.manual_seed(0)
    network = small_network().eval()
    for row in rows:
        with Image.open(tmp_path / "scans" / row["path"]) as image:
            view = data.recipe.plain_view(image.convert("RGB"))
        (expected, *_) = network.stage_features(view[None])
        torch.testing.assert_close(features["layer1/raw"][int(row["row"])], expected[0])


def test_the_file_says_of_what_network_and_data_it_is(tmp_path: Path) -> None:
    predict(tmp_path, Digits(batch_size=512))
    with safe_open(tmp_path / "features.safetensors", "pt") as file:
        about = {
            key: value
            for key, value in file.metadata().items()
            if key not in ("format", "blocklearn")
        }
    about = {key: json.loads(value) for key, value in about.items()}
    assert about["splits"] == {"train": 1437, "test": 360}
    assert about["checkpoint"] == "somewhere"
    assert about["data"] == "digits"
    assert len(about["roots"]) == 1
    assert about["samples"] == "features.csv"
    assert about["network"]["backbone"] == "resnet18"
    assert about["features"][1] == {
        "key": "layer1/head",
        "stage": "layer1",
        "index": 1,
        "kind": "head",
        "width": 24,
        "name": "pooling head",
    }


def test_an_image_that_cannot_be_read_gets_no_vector_of_another(tmp_path: Path) -> None:
    write_images(tmp_path / "scans" / "train", 12)
    (tmp_path / "scans" / "train" / "scan_03.png").write_bytes(b"no image")
    features, rows, _ = predict(tmp_path, images(tmp_path / "scans"))
    (bad,) = [row for row in rows if row["note"]]
    assert (bad["path"], bad["note"], bad["label"]) == ("train/scan_03.png", UNREADABLE, "-1")
    assert features["layer1/raw"].isnan().any(dim=1).nonzero().tolist() == [[int(bad["row"])]]
    assert features["index"].tolist() == [int(row["index"]) for row in rows]


def test_samples_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    write_images(tmp_path / "scans" / "train", 10)
    for split, count in (("train", 3), ("val", 2)):
        write_images(tmp_path / "labelled" / split / "cat", count)
    _, rows, _ = predict(tmp_path, images(tmp_path / "scans", probe_root=tmp_path / "labelled"))
    assert [row["split"] for row in rows] == ["train"] * 8 + ["held_out"] * 2 + ["probe"] * 3 + [
        "test"
    ] * 2
    assert rows[-1]["path"] == "val/cat/scan_01.png"
    assert rows[-1]["label"] == "0"


def test_a_prediction_that_is_cut_short_says_so(tmp_path: Path) -> None:
    features, rows, writer = predict(tmp_path, Digits(batch_size=64), limit_predict_batches=2)
    assert features["label"].shape == (128,)
    assert len(rows) == 128
    assert ", the first 128 of 1797 samples (1437 of train, 360 of test), and" in writer.told()


def test_a_prediction_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tmp_path, Digits(batch_size=512), limit_predict_batches=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    real = WriteFeatures._path

    def fails(self: WriteFeatures, split: str, index: int) -> str:
        if index > 600:
            raise KeyError("killed")
        return real(self, split, index)

    monkeypatch.setattr(WriteFeatures, "_path", fails)
    with pytest.raises(KeyError):
        predict(tmp_path, Digits(batch_size=512))
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(("split", "rows"), [("train", 1437), ("test", 360), ("all", 1797)])
def test_the_command_writes_the_split_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str, rows: int
) -> None:
    assert (
        main(
            [
                "predict",
                *SMALL,
                f"--trainer.default_root_dir={tmp_path}",
                f"--split={split}",
                "--data.batch_size=512",
            ]
        )
        == 0
    )
    assert len(load_file(tmp_path / "features.safetensors")["label"]) == rows
    assert (
        f"Written: {tmp_path / 'features.safetensors'}, {rows} samples" in capsys.readouterr().out
    )


def test_a_split_that_is_not_there_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *SMALL, f"--trainer.default_root_dir={tmp_path}", "--split=val"]) == 1
    assert "data: digits has no split val; it has train, test, or all" in capsys.readouterr().err
    assert not (tmp_path / "features.safetensors").exists()
