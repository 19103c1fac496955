import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from blocklearn.data import STL10, CropViews


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two labelled images for training, three without labels, one for testing; in the set's binary
    format."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    draw = np.random.default_rng(0)

    def write(name: str, content: np.ndarray) -> list[str]:
        (folder / name).write_bytes(content.tobytes())
        return [name, hashlib.md5(content.tobytes()).hexdigest()]

    def images(count: int) -> np.ndarray:
        return draw.integers(0, 255, (count, 3, 96, 96), dtype=np.uint8)

    def labels(*values: int) -> np.ndarray:
        return np.array(values, np.uint8)

    train = [
        write("train_X.bin", images(2)),
        write("train_y.bin", labels(3, 10)),
        write("unlabeled_X.bin", images(3)),
    ]
    test = [write("test_X.bin", images(1)), write("test_y.bin", labels(1))]
    monkeypatch.setattr(datasets.STL10, "train_list", train)
    monkeypatch.setattr(datasets.STL10, "test_list", test)
    return tmp_path


@pytest.mark.parametrize(
    ("split", "labels"),
    [("unlabeled", [-1] * 3), ("train", [2, 9]), ("train+unlabeled", [2, 9, -1, -1, -1])],
)
def test_the_split_is_what_is_trained_on(root: Path, split: Any, labels: list[int]) -> None:
    data = STL10(root, pretraining_split=split)
    samples = data.pretraining_samples()
    assert [samples[index][1] for index in range(len(samples))] == labels
    assert [len(data.probe_samples()), len(data.test_samples())] == [2, 1]


def test_the_default_is_to_train_without_labels(root: Path) -> None:
    assert len(STL10(root).pretraining_samples()) == 3


def test_grey_crops_of_64_pixels(root: Path) -> None:
    data = STL10(
        root,
        image_size=64,
        recipe=lambda spec: CropViews(spec, greyscale=True),
        batch_size=3,
        num_workers=0,
        seed=0,
    )
    (view,) = next(iter(data.train_dataloader())).views
    assert view.shape == (3, 1, 64, 64)
    assert data.recipe.channels == 1
