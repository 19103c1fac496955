"""Images in folders, one folder a class: ImageNet and its like."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from blocklearn.data.decoding import read_image
from blocklearn.data.image_datamodule import ImageDataModule, RecipeFactory
from blocklearn.data.listing import list_files
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.views import BarlowTwinsViews
from blocklearn.errors import UserError
from blocklearn.seeding import fold_seed


class ImageFolder(ImageDataModule):
    """`root/train/CLASS/IMAGE` and `root/val/CLASS/IMAGE` (or `root/test/...`).

    Where there is neither `val` nor `test`, `held_out` of the training images, drawn once and for all, are kept for
    testing and out of training. Images that lie in `root/train` itself have no label.

    Args:
        root: folder of the pretraining images.
        recipe: builds the views.
        probe_root: folder of the labelled images for probing and testing; null for `root`.
        held_out: part of the training images kept for testing where the folder has no test images, in (0, 1).
        kwargs: the arguments of `ImageDataModule`.

    Raises:
        UserError: when the data is asked for and is not there; it names the folder.
    """

    def __init__(
        self,
        root: str | Path = "data/imagenet",
        recipe: RecipeFactory = BarlowTwinsViews,
        probe_root: str | Path | None = None,
        held_out: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(recipe, root, **kwargs)
        if not 0 < held_out < 1:
            raise UserError(f"data: held_out must lie between 0 and 1, got {held_out}")
        self.probe_root = Path(probe_root) if probe_root is not None else self.root
        self.held_out = held_out

    @cached_property
    def _pretraining(self) -> "FolderParts":
        return FolderParts(self.root, self.held_out)

    @cached_property
    def _probing(self) -> "FolderParts":
        return self._pretraining if self.probe_root == self.root else FolderParts(self.probe_root, self.held_out)

    @property
    def title(self) -> str:
        """Name of the probes' folder, and whether its test images are held out of its training images."""
        name = self.probe_root.resolve().name
        return f"{name}, {self.held_out:.0%} held out" if self._probing.split_here else name

    @property
    def num_classes(self) -> int:
        return len(self._probing.classes)

    @property
    def roots(self) -> list[Path]:
        return [self.root, self.probe_root]

    def _splits(self) -> dict[str, LabelledSamples]:
        if self._probing is self._pretraining:
            return super()._splits()
        unlabelled = {"train": self._pretraining.train, "held_out": self._pretraining.test}
        return {**unlabelled, "probe": self._probing.train, "test": self._probing.test}

    def pretraining_samples(self) -> LabelledSamples:
        return self._pretraining.train

    def probe_samples(self) -> LabelledSamples:
        if not self._probing.classes:
            raise UserError(f"data: {self.probe_root} has no class folders to probe; name some with --data.probe_root")
        return self._probing.train

    def test_samples(self) -> LabelledSamples:
        return self._probing.test


class FolderParts:
    """Training and test images of a root folder."""

    def __init__(self, root: Path, held_out: float) -> None:
        train = next((root / name for name in ("train", ".") if (root / name).is_dir()), None)
        test = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
        if train is None:
            raise UserError(
                f"data: there is no folder {root.resolve()}; name one with --data.root that holds train/CLASS/IMAGE and "
                "val/CLASS/IMAGE (for ImageNet: the archives of image-net.org, unpacked one folder a class)"
            )
        self.classes = sorted(path.name for path in train.iterdir() if path.is_dir() and path != test)
        files = list_images(train, self.classes)
        self.split_here = test is None
        if test is not None:
            strangers = sorted({path.name for path in test.iterdir() if path.is_dir()} - set(self.classes))
            if strangers:
                raise UserError(f"data: class {strangers[0]} of {test} is not among the classes of {train}")
            self.train, self.test = ImageFiles(files), ImageFiles(list_images(test, self.classes))
        else:
            order = torch.randperm(len(files), generator=torch.Generator().manual_seed(fold_seed(0))).tolist()
            cut = round(len(files) * held_out)
            self.train = ImageFiles([files[i] for i in sorted(order[cut:])])
            self.test = ImageFiles([files[i] for i in sorted(order[:cut])])


class ImageFiles:
    """Images read from disk, as RGB.

    Args:
        files: path and label of each.

    Raises:
        UnreadableSample: with an item, whatever is wrong with its file.
    """

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self.files = files

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
        return read_image(path), label


def list_images(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """(path, label) of all images in the class folders, or, where there are none, of those in `folder` with label -1.

    Raises:
        UserError: where there is no image.
    """
    groups = [(folder / name, label) for label, name in enumerate(classes)] or [(folder, -1)]
    files = [(path, label) for group, label in groups if group.is_dir() for path in list_files(group, IMG_EXTENSIONS)]
    if not files:
        raise UserError(f"data: no images in {folder.resolve()}; it should hold one folder a class with images in it")
    return files
