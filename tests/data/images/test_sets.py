import gzip
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blocklearn import UserError
from blocklearn.data import (
    CIFAR10,
    CIFAR100,
    STL10,
    Digits,
    FashionMNIST,
    ImageFolder,
    SmallImageViews,
    Synthetic,
)
from blocklearn.data.images.digits import load_digits
from blocklearn.data.images.torchvision_sets import RGB


def make_folder(
    root: Path, parts: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")
) -> Path:
    draw = np.random.default_rng(0)
    for part, count in parts.items():
        for name in classes:
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draw.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(
                    folder / f"{i}.jpeg"
                )
    return root


def folder_data(root: Path, **changes: object) -> ImageFolder:
    settings = {"batch_size": 4, "num_workers": 0, "image_size": 16, "recipe": SmallImageViews}
    return ImageFolder(root, **{**settings, **changes})


def test_digits_are_all_there_and_the_held_out_part_is_stratified() -> None:
    train, test = load_digits()
    assert (len(train), len(test)) == (1437, 360)
    assert np.bincount(test.labels).min() >= 33
    assert Digits().num_classes == 10


def test_digit_views_have_the_stated_statistics() -> None:
    data = Digits(image_size=24)
    images = data.pretraining_samples()
    pixels = torch.stack([data.recipe.plain_view(images[i][0]) for i in range(200)])
    assert abs(float(pixels.mean())) < 0.1
    assert float(pixels.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("test_name", ["val", "test"])
def test_a_folder_with_test_images(tmp_path: Path, test_name: str) -> None:
    data = folder_data(make_folder(tmp_path, {"train": 6, test_name: 2}))
    assert (len(data.pretraining_samples()), len(data.test_samples()), data.num_classes) == (
        12,
        4,
        2,
    )
    batch = next(iter(data.train_dataloader()))
    assert [tuple(v.shape) for v in batch.views] == [(4, 3, 16, 16)] * 2


def test_a_folder_without_test_images_keeps_some_out_of_training(tmp_path: Path) -> None:
    data = folder_data(make_folder(tmp_path, {"train": 10}))
    train, test = (
        {p for p, _ in images.files} for images in (data.pretraining_samples(), data.test_samples())
    )
    assert (len(train), len(test), train & test) == (16, 4, set())
    assert data.title == f"{tmp_path.name}, 20% held out"
    again = folder_data(tmp_path)
    assert {p for p, _ in again.test_samples().files} == test


def test_class_folders_in_the_root_itself(tmp_path: Path) -> None:
    assert folder_data(make_folder(tmp_path, {".": 5})).num_classes == 2


def test_images_without_classes_pretrain_and_others_probe(tmp_path: Path) -> None:
    plain = tmp_path / "plain" / "train"
    plain.mkdir(parents=True)
    for i in range(8):
        Image.new("L", (20, 20), i).save(plain / f"{i}.png")
    labelled = make_folder(tmp_path / "labelled", {"train": 3, "test": 1})
    data = folder_data(tmp_path / "plain", probe_root=labelled)
    assert next(iter(data.train_dataloader())).label.tolist() == [-1] * 4
    assert len(data.probe_samples()) == 6
    with pytest.raises(UserError, match="has no class folders to probe"):
        folder_data(tmp_path / "plain").probe_samples()


def test_a_missing_folder_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"there is no folder {tmp_path}/nowhere; name one with --data.root"
    ):
        folder_data(tmp_path / "nowhere").train_dataloader()


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match=f"no images in {tmp_path}/train"):
        folder_data(tmp_path).train_dataloader()


def test_a_test_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 3})
    make_folder(tmp_path, {"val": 1}, classes=("cat", "eel"))
    with pytest.raises(UserError, match="class eel of .* is not among the classes"):
        folder_data(tmp_path).test_samples()


@pytest.mark.parametrize(
    "way",
    [
        {"num_workers": 0},
        {"num_workers": 1},
        {"num_workers": 1, "recipe": partial(SmallImageViews, colour="device")},
    ],
)
def test_the_first_corrupt_image_stops_where_none_may_be(
    tmp_path: Path, way: dict[str, Any]
) -> None:
    make_folder(tmp_path, {"train": 4, "val": 1})
    bad = tmp_path / "train" / "dog" / "2.jpeg"
    bad.write_bytes(bad.read_bytes()[:200])
    loader: Any = folder_data(tmp_path, max_corrupt=0, **way).train_dataloader()
    with pytest.raises(
        UserError,
        match=f"cannot read the image {bad}: .*1 of 8 samples cannot be read, and 0 may be",
    ):
        list(loader)
    # Torch waits 5 seconds for each process of a loader that is garbage in a cycle.
    if loader.num_workers:
        loader._iterator._shutdown_workers()


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        (CIFAR10, "cifar-10-batches-py"),
        (CIFAR100, "cifar-100-python"),
        (STL10, "stl10_binary"),
        (FashionMNIST, "FashionMNIST/raw"),
    ],
)
def test_a_missing_set_says_where_it_looked_and_how_to_get_it(
    data: type, folder: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        data(tmp_path, num_workers=0).train_dataloader()
    message = str(caught.value)
    assert f"{tmp_path / folder}" in message
    assert "--data.download true" in message
    assert "https://" in message
    assert "\n" not in message


def write_idx(folder: Path, prefix: str, count: int) -> None:
    pixels = np.arange(count * 784, dtype=np.uint32).astype(np.uint8)
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(bytes(16) + pixels.tobytes())
    )
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(bytes(8) + bytes(i % 10 for i in range(count)))
    )


def test_fashion_mnist_is_read_from_its_published_archives(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", 12)
    write_idx(tmp_path, "t10k", 4)
    data = FashionMNIST(tmp_path, batch_size=4, num_workers=0)
    assert (len(data.pretraining_samples()), len(data.test_samples())) == (12, 4)
    assert data.probe_samples()[11][1] == 1
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot read .*t10k-labels"):
        data.test_samples()


def test_cifar_is_read_by_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib
    import pickle

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    from torchvision.datasets import CIFAR10 as Set

    def write(name: str, content: object) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    batch = {"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1, 2]}
    monkeypatch.setattr(Set, "train_list", [write("data_batch_1", batch)])
    monkeypatch.setattr(Set, "test_list", [write("test_batch", batch)])
    meta_name, md5 = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(Set, "meta", {"filename": meta_name, "key": "label_names", "md5": md5})
    data = CIFAR10(tmp_path, num_workers=0)
    assert len(data.pretraining_samples()) == 3
    assert data.test_samples()[2][1] == 2


def test_synthetic_images_are_a_function_of_their_position() -> None:
    first, second = Synthetic().pretraining_samples(), Synthetic().pretraining_samples()
    assert first[5][0].tobytes() == second[5][0].tobytes()
    assert first[5][0].tobytes() != Synthetic().test_samples()[5][0].tobytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "must be at least 1"),
        ({"num_workers": -1}, "must be at least 1"),
        ({"image_size": 1}, "image_size must be at least 8, got 1"),
        ({"image_size": 7}, "image_size must be at least 8, got 7"),
        ({"max_corrupt": -1}, "max_corrupt must be at least 0, got -1"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Synthetic(**wrong)


@pytest.mark.parametrize(
    ("mode", "white"), [("L", 255), ("I;16", 65535), ("LA", (255, 255)), ("RGB", (255,) * 3)]
)
def test_the_images_of_a_torchvision_set_are_those_that_a_viewer_shows(
    mode: str, white: Any
) -> None:
    image, label = RGB([(Image.new(mode, (4, 4), white), 3)])[0]
    assert (image.mode, image.getpixel((0, 0)), label) == ("RGB", (255, 255, 255), 3)
