"""The images of a folder, by class and split, and what of the folder they are not."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from blocklearn.data.decoding import read_image
from blocklearn.data.listing import is_data, is_output, list_files
from blocklearn.distributed.launch import say
from blocklearn.errors import UserError
from blocklearn.seeding import fold_seed

SUFFIXES = (*IMG_EXTENSIONS, ".jfif", ".jpe", ".gif", ".apng", ".jp2", ".avif", ".tga", ".dib")
MOST_NAMED = 5


class FolderParts:
    """Training and test images of a root folder. What is left out, and what is odd, is told in one line each.

    Labels are the places of the class folders in alphabetical order, of those that hold images in either split.

    Args:
        root: holds `train` or is it.
        held_out: part of the training images for testing, where there are no test images.

    Raises:
        UserError: where there are no images, or a class that is only tested.
    """

    def __init__(self, root: Path, held_out: float) -> None:
        train = next((root / name for name in ("train", ".") if (root / name).is_dir()), None)
        test = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
        if train is None:
            raise UserError(
                f"data: there is no folder {root.resolve()}; name one with --data.root that holds train/CLASS/IMAGE and "
                "val/CLASS/IMAGE (for ImageNet: the archives of image-net.org, unpacked one folder a class)"
            )
        self._others: Counter[str] = Counter()
        learnt = self._by_class(train, test)
        tested = self._by_class(test, None) if test else {}
        self.classes = sorted(name for name in learnt if learnt[name] or tested.get(name))
        self.split_here = test is None
        if test is not None:
            _require_known(test, tested, train, learnt)
        if not self.classes:
            loose = [{"": self._loose(folder)} if folder else {} for folder in (train, test)]
            learnt, tested = learnt | loose[0], tested | loose[1]
        files = self._labelled(learnt)
        if not files:
            raise UserError(
                f"data: no images in {train.resolve()}; it should hold one folder a class with images in it"
            )
        if test is not None:
            held = self._labelled(tested)
            if not held:
                raise UserError(
                    f"data: no images in {test.resolve()}; it should hold one folder a class, or not be there"
                )
            self.train, self.test = ImageFiles(files), ImageFiles(held)
        else:
            order = torch.randperm(len(files), generator=torch.Generator().manual_seed(fold_seed(0))).tolist()
            cut = round(len(files) * held_out)
            self.train = ImageFiles([files[i] for i in sorted(order[cut:])])
            self.test = ImageFiles([files[i] for i in sorted(order[:cut])])
        self._tell(train, test, learnt, tested)

    def _by_class(self, folder: Path, besides: Path | None) -> dict[str, list[Path]]:
        found = (path for path in folder.iterdir() if path.is_dir() and is_data(path.name) and path != besides)
        return {path.name: list_files(path, SUFFIXES, self._others) for path in found if not is_output(path)}

    def _loose(self, folder: Path) -> list[Path]:
        """Images in a folder itself."""
        files = (path for path in folder.iterdir() if is_data(path.name) and path.suffix.lower() in SUFFIXES)
        return sorted(path for path in files if not path.is_dir())

    def _labelled(self, by_class: dict[str, list[Path]]) -> list[tuple[Path, int]]:
        labels = {name: label for label, name in enumerate(self.classes)} or {"": -1}
        return [(path, label) for name, label in labels.items() for path in by_class.get(name, ())]

    def _tell(
        self, train: Path, test: Path | None, learnt: dict[str, list[Path]], tested: dict[str, list[Path]]
    ) -> None:
        for folder in (train, test) if self.classes else ():
            loose = self._loose(folder) if folder else []
            if loose:
                say(f"data: {_count(len(loose), 'image')} beside the class folders of {folder} and left out")
        empty = sorted(name for name in learnt if name and not learnt[name] and not tested.get(name))
        if empty:
            say(
                f"data: no image in {_named(empty)} of {train}, which so {_are(empty, 'is no class', 'are no classes')}"
            )
        here = (
            [(train, test, "learnt and never tested", [n for n in self.classes if not tested.get(n)])] if test else []
        )
        here += [(test, train, "tested and never learnt", [n for n in self.classes if not learnt[n]])]
        for folder, other, what, names in here:
            if names:
                told = _are(names, f"has no image in {other}: it is", f"have no image in {other}: they are")
                say(f"data: {_named(names)} of {folder} {told} {what}")
        if self._others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self._others.items()))
            say(f"data: files in {train.parent if train.name == 'train' else train} that are read as no image: {kinds}")


def _require_known(test: Path, tested: dict[str, list[Path]], train: Path, learnt: dict[str, list[Path]]) -> None:
    strangers = sorted(name for name in tested if tested[name] and name not in learnt)
    if strangers:
        raise UserError(f"data: class {strangers[0]} of {test} is not among the classes of {train}")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{'class' if len(names) == 1 else 'classes'} {', '.join(names[:MOST_NAMED])}{more}"


def _are(names: Sequence[str], one: str, more: str) -> str:
    return one if len(names) == 1 else more


def _count(number: int, what: str) -> str:
    return f"{number} {what}{' is' if number == 1 else 's are'}"


class ImageFiles:
    """Images read from disk, as RGB.

    Args:
        files: path and label of each.

    Raises:
        UnreadableSample: with an item, whatever is wrong with its file.
    """

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self.files = files
        self._told = torch.zeros(1, dtype=torch.uint8).share_memory_()  # to all loader processes alike

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
        return read_image(path, partial(self._tell_of_animation, path)), label

    def _tell_of_animation(self, path: Path, pictures: int) -> None:
        if not self._told[0]:
            self._told[0] = 1
            say(f"data: {path} holds {pictures} pictures; of such files the first is taken")
