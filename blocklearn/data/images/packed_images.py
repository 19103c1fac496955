"""Encoded images in chunks, read by their place."""

import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from blocklearn.data.images.folder_parts import ImageFiles
from blocklearn.data.images.packed_index import Chunk, PackedSplit
from blocklearn.data.images.remote_folder import RemoteFolder
from blocklearn.errors import UnreadableSample, UserError

HEAD = struct.Struct("<II")  # of a sample: bytes of its image and of its label
LABEL = struct.Struct("<q")


class PackedChunks:
    """The samples of a split.

    litdata's own reader is made for going through chunks in order: it decodes the samples around
    the one that is asked for too, downloads with threads of its own, and decodes, by pickle among
    others, as the index in the folder says. Here a sample is one read of its own bytes, from the
    table of places that each chunk begins with, and a chunk in a cloud is fetched whole, once, when
    a sample of it is first asked for. Files are opened for each read, so that processes share
    nothing.

    Args:
        split: what is there.
        folder: of the chunks on this machine.
        remote: where chunks are fetched from; null where they all lie in `folder`.
        name: of the split, the folder of its chunks.

    Raises:
        UserError: where chunks are missing or of another size.
    """

    def __init__(
        self, split: PackedSplit, folder: Path, name: str, remote: RemoteFolder | None = None
    ) -> None:
        self.split, self.name, self.remote = split, name, remote
        self._paths = [folder / name / chunk.file for chunk in split.chunks]
        self._ends = list(accumulate(chunk.samples for chunk in split.chunks))
        self._tables: dict[int, np.ndarray] = {}  # by chunk
        if remote is None:
            for chunk, path in zip(split.chunks, self._paths, strict=True):
                _require_whole(chunk, path)

    def read(self, index: int) -> bytes:
        """The encoded image of a sample.

        Raises:
            OSError: where the disk cannot read it.
            UserError: where its chunk is damaged.
        """
        number = bisect_right(self._ends, index)
        chunk, path = self.split.chunks[number], self._paths[number]
        if self.remote is not None:
            self.remote.fetch(f"{self.name}/{chunk.file}", path, chunk.size, chunk.sha256)
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise _damaged(path, "it is missing") from error
        with file:
            if number not in self._tables:
                self._tables[number] = self._table(chunk, path, file.read(4 * (chunk.samples + 2)))
            place = index - (self._ends[number] - chunk.samples)
            begin, end = (int(value) for value in self._tables[number][place : place + 2])
            file.seek(begin)
            sample = file.read(end - begin)
        head = HEAD.unpack_from(sample) if len(sample) == end - begin else (-1, -1)
        if (HEAD.size + head[0], head[1]) != (len(sample) - LABEL.size, LABEL.size):
            raise _damaged(path, f"sample {place} is cut off or out of place")
        if LABEL.unpack_from(sample, len(sample) - LABEL.size)[0] != self.split.labels[index]:
            raise _damaged(path, f"the label of sample {place} is not that of the index")
        return sample[HEAD.size : -LABEL.size]

    def _table(self, chunk: Chunk, path: Path, content: bytes) -> np.ndarray:
        """Where each sample begins, and the last ends."""
        if len(content) < 4 * (chunk.samples + 2):
            raise _damaged(path, "it is cut off")
        count, *_ = table = np.frombuffer(content, "<u4")
        places = table[1:].astype(np.int64)
        shortest = HEAD.size + LABEL.size
        in_order = places[0] == len(content) and (np.diff(places) >= shortest).all()
        if count != chunk.samples or not in_order or places[-1] > chunk.size:
            raise _damaged(path, "its table of samples cannot be")
        return places


class PackedImages(ImageFiles):
    """Images from chunks, decoded as those of a folder are.

    Args:
        chunks: that hold them.
        root: what their paths are told in.
        places: of each in the chunks.
    """

    def __init__(self, chunks: PackedChunks, root: Path, places: Sequence[int]) -> None:
        paths, labels = chunks.split.paths, chunks.split.labels
        super().__init__([(root / paths[place], labels[place]) for place in places])
        self.chunks, self.places = chunks, places

    def content(self, index: int) -> bytes:
        try:
            return self.chunks.read(self.places[index])
        except OSError as error:
            reason = error.strerror or error
            raise UnreadableSample(self.files[index][0], reason, "image") from error


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"data: {path} is damaged: {why}; copy it anew, or pack the images again")


def _require_whole(chunk: Chunk, path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise _damaged(path, "it is missing" if missing else str(error.strerror)) from error
    if size != chunk.size:
        raise _damaged(path, f"it has {size} bytes of {chunk.size}")
