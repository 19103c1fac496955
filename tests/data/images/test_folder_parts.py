"""Folders as they lie on disks."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from blocklearn import UserError
from blocklearn.data import ImageFolder
from blocklearn.data.images.decoding import read_image
from blocklearn.data.images.folder_parts import FolderParts, ImageFiles
from blocklearn.errors import UnreadableSample


def write(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(root / name)
    return root


def classes(*splits: str) -> list[str]:
    return [
        f"{split}/{kind}/{number}.png"
        for split in splits
        for kind in ("cat", "dog")
        for number in range(3)
    ]


def told(root: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    FolderParts(root, 0.2)
    return [line.replace(str(root), "ROOT") for line in capsys.readouterr().err.splitlines()]


def test_hidden_files_and_folders_are_no_class_and_no_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 2."""
    write(
        tmp_path,
        *classes("train", "val"),
        "train/.ipynb_checkpoints/a.png",
        "train/cat/.ipynb_checkpoints/a.png",
    )
    (tmp_path / "train" / "cat" / "._0.png").write_bytes(b"\0\5\26\7")
    parts = FolderParts(tmp_path, 0.2)
    assert parts.classes == ["cat", "dog"]
    assert (len(parts.train), len(parts.test)) == (6, 6)
    assert capsys.readouterr().err == ""


def test_a_flat_folder_with_a_hidden_folder_in_it_stays_flat(tmp_path: Path) -> None:
    """Case 2: it hid all images."""
    write(
        tmp_path, *(f"train/{number}.png" for number in range(5)), "train/.ipynb_checkpoints/0.png"
    )
    parts = FolderParts(tmp_path, 0.2)
    assert (parts.classes, len(parts.train), len(parts.test)) == ([], 4, 1)
    assert {label for _, label in parts.train.files} == {-1}


def test_a_flat_folder_with_a_folder_of_other_files_stays_flat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *(f"train/{number}.png" for number in range(5)))
    (tmp_path / "train" / "notes").mkdir()
    (tmp_path / "train" / "notes" / "all.csv").touch()
    assert told(tmp_path, capsys) == [
        "data: no image in class notes of ROOT/train, which so is no class",
        "data: files in ROOT that are read as no image: 1 .csv",
    ]
    assert len(FolderParts(tmp_path, 0.2).train) == 4


def test_runs_in_the_folder_of_the_data_are_no_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path,
        "cat/0.png",
        "dog/0.png",
        "runs/one/probe/accuracy_by_block.png",
        "probe/accuracy_by_block.png",
    )
    for name in (
        "config.yaml",
        "metrics.csv",
        "runs/one/config.yaml",
        "runs/one/metrics.csv",
        "probe/results.json",
    ):
        (tmp_path / name).touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert FolderParts(tmp_path, 0.5).classes == ["cat", "dog"]
    assert capsys.readouterr().err == ""


def test_a_class_called_runs_is_a_class(tmp_path: Path) -> None:
    assert FolderParts(write(tmp_path, "runs/0.png", "walks/0.png"), 0.5).classes == [
        "runs",
        "walks",
    ]


def test_neither_of_two_folders_for_testing_is_a_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [
        f"{split}{kind}/{number}.png"
        for split in ("", "val/", "test/")
        for kind in ("cat", "dog")
        for number in "ab"
    ]
    parts = FolderParts(write(tmp_path, *kinds), 0.2)
    assert (parts.classes, len(parts.train), len(parts.test)) == (["cat", "dog"], 4, 4)
    assert capsys.readouterr().err == ""


def test_loose_images_beside_class_folders_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *classes("train", "val"), "train/a.png", "train/b.tga", "val/c.png")
    assert told(tmp_path, capsys) == [
        "data: 2 images are beside the class folders of ROOT/train and left out",
        "data: 1 image is beside the class folders of ROOT/val and left out",
    ]


def test_classes_of_one_split_alone_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *classes("train", "val"), "train/cow/0.png", "val/emu/0.png")
    (tmp_path / "train" / "emu").mkdir()
    assert told(tmp_path, capsys) == [
        "data: class cow of ROOT/train has no image in ROOT/val: it is learnt and never tested",
        "data: class emu of ROOT/val has no image in ROOT/train: it is tested and never learnt",
    ]
    parts = FolderParts(tmp_path, 0.2)
    assert parts.classes == ["cat", "cow", "dog", "emu"]
    assert sorted({label for _, label in parts.test.files}) == [0, 2, 3]


def test_a_class_that_training_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class emu of .*val is not among the classes of .*train"):
        FolderParts(write(tmp_path, *classes("train", "val"), "val/emu/0.png"), 0.2)


def test_classes_without_images_are_none_and_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *classes("train", "val"))
    for name in "abcdefg":
        (tmp_path / "train" / name).mkdir()
    assert told(tmp_path, capsys) == [
        "data: no image in classes a, b, c, d, e and 2 more of ROOT/train, which so are no classes"
    ]
    assert FolderParts(tmp_path, 0.2).classes == ["cat", "dog"]


def test_files_that_are_read_as_no_image_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *classes("train", "val"))
    for name in ("train/cat/a.heic", "train/cat/b.HEIC", "val/dog/labels.txt", "val/dog/Thumbs.db"):
        (tmp_path / name).touch()
    assert told(tmp_path, capsys) == [
        "data: files in ROOT that are read as no image: 2 .heic, 1 .txt"
    ]


def test_files_of_a_flat_folder_that_are_read_as_no_image_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *(f"train/{number}.png" for number in range(5)))
    (tmp_path / "train" / "a.heic").touch()
    assert told(tmp_path, capsys) == ["data: files in ROOT that are read as no image: 1 .heic"]


def test_a_pipe_in_a_flat_folder_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, *(f"train/{number}.png" for number in range(5)))
    os.mkfifo(tmp_path / "train" / "pipe.png")
    assert len(FolderParts(tmp_path, 0.2).train) == 4


def test_gifs_are_images_too_and_of_an_animation_the_first_picture_is_taken_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Case 13: skipped in silence."""
    write(tmp_path, *(f"train/{number}.gif" for number in range(4)))
    pictures = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (200, 10)]
    for name in ("moving.gif", "moving.webp", "moving.png"):
        pictures[0].save(
            tmp_path / "train" / name, save_all=True, append_images=pictures[1:], lossless=True
        )
    files = ImageFiles([(path, 0) for path in sorted((tmp_path / "train").iterdir())])
    assert (
        len(FolderParts(tmp_path, 0.2).train) + len(FolderParts(tmp_path, 0.2).test)
        == len(files)
        == 7
    )
    capsys.readouterr()
    values = [int(np.asarray(files[index][0]).mean()) for index in range(7)]
    assert values == [0, 1, 2, 3, 200, 200, 200]
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line
        == f"data: {tmp_path}/train/moving.gif holds 2 pictures; of such files the first is taken"
    )


def test_loader_processes_tell_of_animations_once_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = Image.fromarray(np.full((8, 8), 200, np.uint8))
    for number in range(8):
        picture.save(
            tmp_path / f"{number}.gif", save_all=True, append_images=[Image.new("L", (8, 8))]
        )
    files = ImageFiles([(path, 0) for path in sorted(tmp_path.iterdir())])

    def first(items: list) -> torch.Tensor:
        return torch.tensor([label for _, label in items])

    # pyright: ignore
    assert len(list(DataLoader(files, batch_size=1, num_workers=2, collate_fn=first))) == 8
    # both may have begun at once
    assert capfd.readouterr().err.count("of such files the first is taken") <= 2


def test_the_lines_come_once_for_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ImageFolder(
        write(tmp_path, *classes("train", "val"), "train/a.png"), batch_size=2, num_workers=0
    )
    data.setup()
    for loader in (
        data.train_dataloader(),
        data.val_dataloader(),
        data.probe_dataloader(2),
        data.predict_dataloader(),
    ):
        assert len(loader)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("place", ["train/cat", "train"])
def test_a_folder_of_nothing_but_other_formats_is_refused_with_their_names(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    for name in ("a.heic", "b.HEIC", "c.raw"):
        (tmp_path / place / name).touch()
    with pytest.raises(
        UserError,
        match=r"no images in .*train, only files that are read as none \(2 .heic, 1 .raw: conv",
    ):
        FolderParts(tmp_path, 0.2)


def test_loose_images_of_every_format_that_is_read_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *classes("train"), "train/a.avif", "train/b.ppm", "train/c.jp2")
    assert told(tmp_path, capsys) == [
        "data: 3 images are beside the class folders of ROOT/train and left out"
    ]


def test_loose_images_beside_the_folder_of_training_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *classes("train", "val"), "a.png")
    assert told(tmp_path, capsys) == [
        "data: 1 image is beside the folder train of ROOT and left out"
    ]
    write(tmp_path, "train/b.png")
    assert told(tmp_path / "train", capsys) == [
        "data: 1 image is beside the class folders of ROOT and left out"
    ]


def test_a_comparison_of_runs_is_no_image_of_a_flat_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *(f"{number}.png" for number in range(5)), "comparison.png")
    assert len(FolderParts(tmp_path, 0.2).train) == 5
    (tmp_path / "comparison.csv").touch()
    assert len(FolderParts(tmp_path, 0.2).train) == 4
    assert capsys.readouterr().err == ""


def test_pages_of_a_tiff_are_told_and_a_smaller_copy_of_it_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kind in (("pages.tif", 0), ("preview.tif", 1)):
        second = Image.new("L", (8, 8))
        second.encoderinfo = {"tiffinfo": {254: kind}}
        Image.new("L", (8, 8), 200).save(tmp_path / name, save_all=True, append_images=[second])
        assert np.asarray(ImageFiles([(tmp_path / name, 0)])[0][0]).min() == 200
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"data: {tmp_path}/pages.tif holds 2 pictures; of such files the first is taken"


@pytest.mark.parametrize("suffix", [".gif", ".tif"])
def test_whether_a_damaged_animation_can_be_read_does_not_depend_on_what_was_read_before(
    tmp_path: Path, suffix: str
) -> None:
    """Its pictures are counted until the first animation is told of; a worker may have told or
    not."""
    draw, path = np.random.default_rng(0), tmp_path / f"a{suffix}"
    pictures = [
        Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)) for _ in range(3)
    ]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    whole, readable = path.read_bytes(), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in draw.integers(len(whole) // 2, len(whole), 3):
            damaged[place] = draw.integers(256)
        path.write_bytes(damaged)
        told, untold = (is_read(path, asked) for asked in (None, lambda _: None))
        assert told == untold
        readable += told
    assert readable > 30


def is_read(path: Path, asked: Callable[[int], None] | None) -> bool:
    try:
        return bool(read_image(path, asked))
    except UnreadableSample:
        return False
