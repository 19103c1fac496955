"""The images of a folder, by class and split."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
from PIL import Image

from blocklearn.data.class_folders import ClassFolders
from blocklearn.data.folder_content import FolderContent
from blocklearn.data.images.decoding import SUFFIXES, read_image
from blocklearn.data.listing import list_files, list_here
from blocklearn.distributed.launch import say

IMAGES = FolderContent(
    "image",
    "for ImageNet: the archives of image-net.org, unpacked one folder a class",
    lambda folder, others: list_files(folder, SUFFIXES, others),
    lambda folder, others: list_here(folder, SUFFIXES, others),
)


class FolderParts(ClassFolders):
    """Training and test images of a root folder.

    Args:
        root: holds `train` or is it.
        held_out: part of the training images for testing, where there are no test images.

    Raises:
        UserError: where there are no images, or a class that is only tested.
    """

    def __init__(self, root: Path, held_out: float) -> None:
        super().__init__(root, held_out, IMAGES)
        self.train, self.test = ImageFiles(self.learnt), ImageFiles(self.tested)


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
