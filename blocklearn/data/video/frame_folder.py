"""A video that lies as a folder of images, one a frame."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blocklearn.data.images.decoding import SUFFIXES, read_image
from blocklearn.data.listing import list_here
from blocklearn.data.video.opened import unreadable


@dataclass(frozen=True, slots=True)
class FrameFolder:
    """A folder of images, all of one size; `open_frames` makes one.

    Attributes:
        path: of the folder.
        files: of the frames, in their order.
    """

    path: Path
    files: Sequence[Path]

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.files)

    def read(self, start: int = 0, frames: int | None = None, stride: int = 1) -> Tensor:
        """`(T, H, W, 3)` uint8 in RGB; no other image is read.

        Args:
            start: first frame.
            frames: T; null for all that follow.
            stride: 1 for every frame, 4 for every fourth.

        Raises:
            UnreadableSample: for an image that cannot be read, images of different size, or a clip
                that goes beyond the last, by name.
        """
        last = self.frames if frames is None else start + (frames - 1) * stride + 1
        if not 0 <= start < last <= self.frames:
            raise unreadable(
                self.path, f"it has {self.frames} frames, none of {start} to {last - 1}"
            )
        pictures = [np.asarray(read_image(path)) for path in self.files[start:last:stride]]
        if len({picture.shape for picture in pictures}) > 1:
            raise unreadable(self.path, "its frames are of different size")
        return torch.from_numpy(np.stack(pictures))


def open_frames(folder: Path) -> FrameFolder:
    """The images in a folder as a video, in the order of their names, where numbers count by their
    value: `frame2.jpg` comes before `frame10.jpg`. What is no image, hidden, or an operating
    system's own is passed over.

    Raises:
        UnreadableSample: for a folder without images, by name.
    """
    files = sorted(list_here(folder, SUFFIXES), key=_natural)
    if not files:
        raise unreadable(folder, "it holds no images")
    return FrameFolder(folder, files)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
