"""Packs a folder of images into chunks: their bytes as they are, with their labels."""

import json
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blocklearn.data.images.folder_parts import FolderParts, ImageFiles
from blocklearn.data.images.packed_index import (
    INDEX,
    TRAIN,
    Chunk,
    PackedIndex,
    PackedSplit,
    write_index,
)
from blocklearn.data.images.remote_folder import digest, require_litdata
from blocklearn.errors import UserError, in_one_line
from blocklearn.weights.atomic_write import cannot_write, flush

CHUNK_BYTES = 64_000_000
LARGEST_IMAGE = 2**31  # the format counts bytes in 32 bits
OF_A_SAMPLE = 64  # bytes beside an image: its head, label, place and line in the index; about
LITDATAS_INDEX = "index.json"
Progress = Callable[[Iterable[tuple[Path, int]], str, int], Iterable[tuple[Path, int]]]


def pack(
    source: Path,
    target: Path,
    chunk_bytes: int = CHUNK_BYTES,
    progress: Progress = lambda files, split, count: files,
) -> PackedIndex:
    """Write the images that `ImageFolder` finds in `source` into chunks in `target`, whole or not
    at all: while it is written it lies beside `target` under a name that begins with a dot. The
    same images make the same bytes.

    Args:
        source: `train/CLASS/IMAGE`, and `val` or `test` where there are such images.
        target: a folder that is new or empty.
        chunk_bytes: about what a chunk holds at most, unless a single image is larger.
        progress: hands on the files of a split, and shows how far they are.

    Raises:
        UserError: for a target that holds something or lies in the source, where litdata is not
            installed, where the images cannot be read, and where the disk has no room.
    """
    _require_free(source, target)
    require_litdata("pack")
    parts = FolderParts(source, held_out=0)
    test_folder = None if parts.split_here else _top_folder(parts.test, source)
    splits = {TRAIN: parts.train} | ({test_folder: parts.test} if test_folder else {})
    needed = sum(_size(path) + OF_A_SAMPLE for part in splits.values() for path in part.paths)
    target.parent.mkdir(parents=True, exist_ok=True)
    if needed > shutil.disk_usage(target.parent).free:
        raise cannot_write(target, "the disk is full", needed)
    with _whole_or_not_at_all(target, needed) as unfinished:
        index = PackedIndex(
            parts.classes,
            {
                name: _write_split(
                    progress(part.files, name, len(part)), source, unfinished / name, chunk_bytes
                )
                for name, part in splits.items()
            },
        )
        write_index(index, unfinished / INDEX)
    return index


def _write_split(
    files: Iterable[tuple[Path, int]], source: Path, folder: Path, chunk_bytes: int
) -> PackedSplit:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes=chunk_bytes)
    paths, labels = [], []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "An item was larger than the target chunk size")
        for number, (path, label) in enumerate(files):
            writer[number] = (_content(path), label)
            paths.append(path.relative_to(source).as_posix())
            labels.append(label)
        writer.done()
    # Its own merging writes the time into the index.
    (own,) = folder.glob(f"*.{LITDATAS_INDEX}")
    listed = json.loads(own.read_bytes())["chunks"]
    own.rename(folder / LITDATAS_INDEX)
    chunks = [_chunk(folder, about) for about in listed]
    for path in folder.iterdir():
        flush(path)
    flush(folder)
    return PackedSplit(chunks, paths, labels)


def _chunk(folder: Path, about: dict[str, Any]) -> Chunk:
    path = folder / about["filename"]
    return Chunk(path.name, about["chunk_size"], path.stat().st_size, digest(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _cannot_read(path, error.strerror) from error


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _cannot_read(path, error.strerror) from error
    if size >= LARGEST_IMAGE:
        raise _cannot_read(path, f"{size} bytes are more than a chunk can hold")
    return size


def _cannot_read(path: Path, why: object) -> UserError:
    return UserError(f"pack: cannot read {in_one_line(path)}: {why}; mend or remove it")


def _top_folder(images: ImageFiles, source: Path) -> str:
    return images.paths[0].relative_to(source).parts[0]


def _require_free(source: Path, target: Path) -> None:
    if (source / INDEX).is_file():
        raise UserError(f"pack: {source} is packed already; use it with --data Streaming")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"pack: {target} is no folder; name one that is new or empty")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"pack: {target} is not empty; name a new folder, or remove it")
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise UserError(
            f"pack: {target} lies in {source}, where its chunks would be among the images; name a "
            "folder elsewhere"
        )


@contextmanager
def _whole_or_not_at_all(target: Path, needed: int) -> Iterator[Path]:
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}.unfinished")
    try:
        for left in target.parent.glob(f".{target.name}.*.unfinished"):
            with _held(left) as alone:
                if not alone:
                    raise UserError(f"pack: another process is packing into {target}; let it end")
                shutil.rmtree(left)  # of a process that was killed
        unfinished.mkdir()
        with _held(unfinished):
            yield unfinished
            flush(unfinished)
            unfinished.rename(target)
            flush(target.parent)
    except OSError as error:
        raise cannot_write(target, error.strerror or str(error), needed) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether no other process holds it. Where locks do not work, nobody does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        alone = True
        with suppress(ImportError):
            import fcntl  # not on every system

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                alone = False
            except OSError:
                pass
        yield alone
    finally:
        os.close(handle)
