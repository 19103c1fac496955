"""The images of a folder, by class and split, and what of the folder they are not."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from blocklearn.data.images.decoding import SUFFIXES, read_image
from blocklearn.data.images.folder_remarks import ByClass, kinds, remarks
from blocklearn.data.listing import is_data, is_output, list_files, list_here
from blocklearn.distributed.launch import say
from blocklearn.errors import UserError
from blocklearn.seeding import fold_seed

TEST_FOLDERS = ("val", "test")  # the first of them that is there
UNLABELLED = ""  # where classes have their names
File = TypeVar("File")


class FolderParts:
    """Training and test images of a root folder. What is left out, and what is odd, is told in one
    line each.

    Labels are the places of the class folders in alphabetical order, of those that hold images in
    either split.

    Args:
        root: holds `train` or is it.
        held_out: part of the training images for testing, where there are no test images.

    Raises:
        UserError: where there are no images, or a class that is only tested.
    """

    def __init__(self, root: Path, held_out: float) -> None:
        others: Counter[str] = Counter()
        folder, test_folder = _splits(root)
        learnt = _by_class(folder, [root / name for name in TEST_FOLDERS], others)
        tested = _by_class(test_folder, [], others) if test_folder else {}
        if test_folder:
            _require_known(tested, test_folder, learnt, folder)
        self.classes = sorted(name for name in learnt if learnt[name] or tested.get(name))
        self.split_here = test_folder is None
        if not self.classes:
            learnt |= {UNLABELLED: list_here(folder, SUFFIXES, others)}
            tested |= {UNLABELLED: list_here(test_folder, SUFFIXES, others)} if test_folder else {}
        files = self._labelled(learnt, folder, others)
        if test_folder:
            self.train, self.test = (
                ImageFiles(files),
                ImageFiles(self._labelled(tested, test_folder, others)),
            )
        else:
            self.train, self.test = (ImageFiles(part) for part in hold_out(files, held_out))
        splits = (folder, learnt), (test_folder, tested) if test_folder else None
        for remark in remarks(root, self.classes, *splits, others):
            say(f"data: {remark}")

    def _labelled(
        self, by_class: ByClass, folder: Path, others: Counter[str]
    ) -> list[tuple[Path, int]]:
        labels = {name: label for label, name in enumerate(self.classes)} or {UNLABELLED: -1}
        files = [(path, label) for name, label in labels.items() for path in by_class.get(name, ())]
        if not files:
            skipped = (
                f", only files that are read as none ({kinds(others)}: convert them)"
                if others
                else ""
            )
            raise UserError(
                f"data: no images in {folder.resolve()}{skipped}; it should hold one folder a "
                "class with images in it"
            )
        return files


def _splits(root: Path) -> tuple[Path, Path | None]:
    train = next((root / name for name in ("train", ".") if (root / name).is_dir()), None)
    if train is None:
        raise UserError(
            f"data: there is no folder {root.resolve()}; name one with --data.root that holds "
            "train/CLASS/IMAGE and val/CLASS/IMAGE (for ImageNet: the archives of image-net.org, "
            "unpacked one folder a class)"
        )
    return train, next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)


def _by_class(folder: Path, besides: Sequence[Path], others: Counter[str]) -> ByClass:
    found = (
        path
        for path in folder.iterdir()
        if path.is_dir() and is_data(path.name) and path not in besides
    )
    return {path.name: list_files(path, SUFFIXES, others) for path in found if not is_output(path)}


def _require_known(tested: ByClass, test_folder: Path, learnt: ByClass, folder: Path) -> None:
    strangers = sorted(name for name in tested if tested[name] and name not in learnt)
    if strangers:
        raise UserError(
            f"data: class {strangers[0]} of {test_folder} is not among the classes of {folder}"
        )


def hold_out(files: Sequence[File], part: float) -> tuple[list[File], list[File]]:
    """Training and testing, drawn once and for all."""
    order = torch.randperm(
        len(files), generator=torch.Generator().manual_seed(fold_seed(0))
    ).tolist()
    cut = round(len(files) * part)
    return [files[i] for i in sorted(order[cut:])], [files[i] for i in sorted(order[:cut])]


class ImageFiles:
    """Images read from disk, as RGB.

    Args:
        files: path and label of each.

    Raises:
        UnreadableSample: with an item, whatever is wrong with its file.
    """

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self.files = files
        self._told = torch.zeros(
            1, dtype=torch.uint8
        ).share_memory_()  # to all loader processes alike
        self._seen_animation = (
            False  # in this process; to count pictures takes a walk through the file
        )

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def paths(self) -> list[Path]:
        return [path for path, _ in self.files]

    @property
    def labels(self) -> list[int]:
        return [label for _, label in self.files]

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        path, label = self.files[index]
        tell = None if self._seen_animation else partial(self._tell_of_animation, path)
        return read_image(path, tell, self.content(index)), label

    def content(self, index: int) -> bytes | None:
        """The encoded image, where it does not lie in its own file."""
        return None

    def _tell_of_animation(self, path: Path, pictures: int) -> None:
        self._seen_animation = True
        if not self._told[0]:
            self._told[0] = 1
            say(f"data: {path} holds {pictures} pictures; of such files the first is taken")
