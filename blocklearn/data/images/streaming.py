"""Images packed into chunks, on a disk or in a cloud."""

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from blocklearn.data.class_folders import hold_out
from blocklearn.data.images.image_datamodule import RecipeFactory
from blocklearn.data.images.image_folder import ImageFolder
from blocklearn.data.images.packed_images import PackedChunks, PackedImages
from blocklearn.data.images.packed_index import INDEX, TRAIN, PackedIndex, read_index
from blocklearn.data.images.remote_folder import RemoteFolder, digest, is_remote
from blocklearn.data.images.views import BarlowTwinsViews
from blocklearn.errors import UserError


class Streaming(ImageFolder):
    """What `blocklearn pack` made of a folder of images. Samples, labels, order and views are
    bitwise those of `ImageFolder` on that folder.

    Args:
        root: the packed folder, or its address in a cloud (`s3://BUCKET/FOLDER`; `gs://`, `r2://`,
            `azure://`, `hf://`), whose chunks are fetched as they are needed, and kept.
        recipe: makes the views.
        probe_root: packed folder or address of the labelled images for probing and testing; null
            for `root`.
        held_out: part of the training images kept for testing where no test images were packed, in
            (0, 1).
        cache_dir: folder for what is fetched from a cloud; it needs room for all chunks. Nothing is
            written there for a packed folder on a disk.
        kwargs: the arguments of `ImageDataModule`.

    Raises:
        UserError: when the data is asked for and is not there or damaged; it names the file.
    """

    def __init__(
        self,
        root: str | Path = "data/packed",
        recipe: RecipeFactory = BarlowTwinsViews,
        probe_root: str | Path | None = None,
        held_out: float = 0.2,
        cache_dir: str | Path = "data/streaming",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, recipe, probe_root, held_out, **kwargs)
        self._address = str(root)  # a path would lose a slash of it
        self._probe_address = self._address if probe_root is None else str(probe_root)
        self.cache_dir = Path(cache_dir)

    @cached_property
    def _pretraining(self) -> "PackedParts":
        return PackedParts(self._address, self.cache_dir, self.held_out)

    @cached_property
    def _probing(self) -> "PackedParts":
        if self._probe_address == self._address:
            return self._pretraining
        return PackedParts(self._probe_address, self.cache_dir, self.held_out)


class PackedParts:
    """Training and test images of a packed folder, as `FolderParts` has those of the folder that
    was packed.

    Args:
        address: of the packed folder, on this machine or in a cloud.
        cache_dir: where to keep what is fetched.
        held_out: part of the training images for testing, where no test images were packed.

    Raises:
        UserError: where it is no packed folder, or is damaged.
    """

    def __init__(self, address: str, cache_dir: Path, held_out: float) -> None:
        if is_remote(address):
            remote = RemoteFolder(address)
            index, folder = _fetched_index(remote, cache_dir)
        else:
            remote, folder = None, Path(address)
            index = _index_of(folder)
        self.classes = index.classes
        self.split_here = index.test_split is None
        if index.test_split is None:
            count = len(index.splits[TRAIN].paths)
            parts = [(TRAIN, places) for places in hold_out(range(count), held_out)]
        else:
            names = (TRAIN, index.test_split)
            parts = [(name, range(len(index.splits[name].paths))) for name in names]
        chunks = {name: PackedChunks(index.splits[name], folder, name, remote) for name, _ in parts}
        self.train, self.test = (
            PackedImages(chunks[name], Path(address), places) for name, places in parts
        )


def _index_of(folder: Path) -> PackedIndex:
    if not folder.is_dir():
        raise UserError(
            f"data: there is no folder {folder.resolve()}; name one with --data.root that "
            "blocklearn pack has made"
        )
    if not (folder / INDEX).is_file():
        raise UserError(
            f"data: {folder.resolve()} is no packed folder, it has no {INDEX}; make one with "
            f"blocklearn pack {folder} TARGET, or read it as it is with --data ImageFolder"
        )
    return read_index(folder / INDEX, str(folder / INDEX))


def _fetched_index(remote: RemoteFolder, cache_dir: Path) -> tuple[PackedIndex, Path]:
    """The index as it is now, and the folder on this machine for the chunks that it speaks of: of
    another index it is another, so that what was fetched before never stands for new content."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".index-") as fresh:
            path = Path(fresh) / INDEX
            remote.fetch(INDEX, path)
            index = read_index(path, f"{remote.uri}/{INDEX}")
            return index, cache_dir / digest(path)[:32]
    except OSError as error:
        raise UserError(
            f"data: cannot keep in {cache_dir} what is fetched: {error.strerror}; name another "
            "folder with --data.cache_dir"
        ) from error
