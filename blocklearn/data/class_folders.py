"""The samples of a folder, by class and split, and what of the folder they are not."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch

from blocklearn.data.folder_content import FolderContent
from blocklearn.data.images.folder_remarks import ByClass, kinds, remarks
from blocklearn.data.listing import is_data, is_output
from blocklearn.distributed.launch import say
from blocklearn.errors import UserError
from blocklearn.seeding import fold_seed

TEST_FOLDERS = ("val", "test")  # the first of them that is there
UNLABELLED = ""  # where classes have their names
File = TypeVar("File")
Labelled = list[tuple[Path, int]]


class ClassFolders:
    """Files for training and for testing in a root folder. What is left out, and what is odd, is
    told in one line each.

    Labels are the places of the class folders in alphabetical order, of those that hold something
    in either split.

    Args:
        root: holds `train` or is it.
        held_out: part of the training files for testing, where there are none of their own.
        content: what the folders hold.

    Attributes:
        classes: their names, by label; empty where nothing is labelled.
        split_here: whether the test files are held out of the training files.
        learnt: path and label of the training files.
        tested: of the test files.

    Raises:
        UserError: where there is nothing, or a class that is only tested.
    """

    def __init__(self, root: Path, held_out: float, content: FolderContent) -> None:
        self._content = content
        others: Counter[str] = Counter()
        folder, test_folder = self._splits(root)
        learnt = self._by_class(folder, [root / name for name in TEST_FOLDERS], others)
        tested = self._by_class(test_folder, [], others) if test_folder else {}
        if test_folder:
            _require_known(tested, test_folder, learnt, folder)
        self.classes = sorted(name for name in learnt if learnt[name] or tested.get(name))
        self.split_here = test_folder is None
        if not self.classes:
            learnt |= {UNLABELLED: content.beside(folder, others)}
            tested |= {UNLABELLED: content.beside(test_folder, others)} if test_folder else {}
        self.learnt = self._labelled(learnt, folder, others)
        if test_folder:
            self.tested = self._labelled(tested, test_folder, others)
        else:
            self.learnt, self.tested = hold_out(self.learnt, held_out)
        splits = (folder, learnt), (test_folder, tested) if test_folder else None
        for remark in remarks(root, self.classes, *splits, others, content):
            say(f"data: {remark}")

    def _labelled(self, by_class: ByClass, folder: Path, others: Counter[str]) -> Labelled:
        labels = {name: label for label, name in enumerate(self.classes)} or {UNLABELLED: -1}
        files = [(path, label) for name, label in labels.items() for path in by_class.get(name, ())]
        if not files:
            skipped = (
                f", only files that are read as none ({kinds(others)}: convert them)"
                if others
                else ""
            )
            word = self._content.word
            raise UserError(
                f"data: no {word}s in {folder.resolve()}{skipped}; it should hold one folder a "
                f"class with {word}s in it"
            )
        return files

    def _splits(self, root: Path) -> tuple[Path, Path | None]:
        train = next((root / name for name in ("train", ".") if (root / name).is_dir()), None)
        if train is None:
            word = self._content.word.upper()
            raise UserError(
                f"data: there is no folder {root.resolve()}; name one with --data.root that holds "
                f"train/CLASS/{word} and val/CLASS/{word} ({self._content.fetched})"
            )
        return train, next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)

    def _by_class(self, folder: Path, besides: Sequence[Path], others: Counter[str]) -> ByClass:
        found = (
            path
            for path in folder.iterdir()
            if path.is_dir() and is_data(path.name) and path not in besides
        )
        return {p.name: self._content.below(p, others) for p in found if not is_output(p)}


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
