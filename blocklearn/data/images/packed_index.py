"""What a packed folder of images holds: the file that says it, and nothing taken on trust."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from blocklearn.data.class_folders import TEST_FOLDERS
from blocklearn.errors import UserError
from blocklearn.weights.atomic_write import replacing

INDEX = "blocklearn-index.json"  # litdata fetches what ends so without starting threads
KIND, VERSION = "images packed by blocklearn", 1
TRAIN = "train"
CHUNK_NAME = re.compile(r"chunk-\d{1,9}-\d{1,9}\.bin")
LARGEST_CHUNK = 2**32  # the format counts its bytes in 32 bits


@dataclass(frozen=True)
class Chunk:
    """A file of encoded images.

    Attributes:
        file: its name in the folder of its split.
        samples: how many it holds.
        size: in bytes.
        sha256: of its content, in hexadecimal digits.
    """

    file: str
    samples: int
    size: int
    sha256: str


@dataclass(frozen=True)
class PackedSplit:
    """The images of one split, in order.

    Attributes:
        chunks: that hold them, in order.
        paths: where each was in the folder that was packed, for messages; parts joined by `/`.
        labels: of each; -1 where there is none.
    """

    chunks: list[Chunk]
    paths: list[str]
    labels: list[int]


@dataclass(frozen=True)
class PackedIndex:
    """All that is known of a packed folder without opening its chunks.

    Attributes:
        classes: their names in the order of the labels; empty where there are none.
        splits: `train`, and `val` or `test` where there are such images.
    """

    classes: list[str]
    splits: dict[str, PackedSplit]

    @property
    def test_split(self) -> str | None:
        """The folder of the test images; None where there are none."""
        return next((name for name in TEST_FOLDERS if name in self.splits), None)


def write_index(index: PackedIndex, path: Path) -> None:
    """The same index makes the same bytes."""
    content = {"kind": KIND, "version": VERSION, **asdict(index)}
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, separators=(",", ":"), sort_keys=True) + "\n")


def read_index(path: Path, told: str) -> PackedIndex:
    """
    Args:
        path: of the file.
        told: what to call it in messages.

    Raises:
        UserError: where it cannot be read, is of a later version, or is not what `write_index`
            writes.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"data: cannot read {told}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(told, "it is no JSON") from error
    try:
        return _checked(content, told)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise _damaged(told, _words(error)) from error


def _checked(content: Any, told: str) -> PackedIndex:
    _require(isinstance(content, dict) and content.get("kind") == KIND, "it is of another kind")
    version = content["version"]
    if type(version) is int and version > VERSION:
        raise UserError(
            f"data: {told} has version {version} and this blocklearn reads up to {VERSION}; update "
            "blocklearn, or pack the images again"
        )
    _require(version == VERSION and type(version) is int, "its version is none")
    classes, splits = content["classes"], content["splits"]
    _require(_all(classes, str) and classes == sorted(set(classes)), "its classes are no names")
    _require(isinstance(splits, dict), "it has no splits")
    known = {TRAIN, *TEST_FOLDERS}
    _require(TRAIN in splits and splits.keys() <= known, "its splits are others than are packed")
    return PackedIndex(classes, {name: _split(splits[name], len(classes)) for name in splits})


def _split(content: dict[str, Any], num_classes: int) -> PackedSplit:
    chunks, paths, labels = content["chunks"], content["paths"], content["labels"]
    _require(isinstance(chunks, list), "its chunks are no list")
    found = [_chunk(chunk) for chunk in chunks]
    _require(len({chunk.file for chunk in found}) == len(found), "a chunk is listed twice")
    _require(_all(paths, str) and all(map(_is_inside, paths)), "its paths lead elsewhere")
    _require(_all(labels, int), "its labels are no integers")
    lowest, highest = (0, num_classes) if num_classes else (-1, 0)
    _require(all(lowest <= label < highest for label in labels), "a label is of no class")
    count = sum(chunk.samples for chunk in found)
    _require(0 < count == len(paths) == len(labels), "its lists differ in length, or are empty")
    return PackedSplit(found, paths, labels)


def _chunk(content: dict[str, Any]) -> Chunk:
    chunk = Chunk(**content)
    named = isinstance(chunk.file, str) and CHUNK_NAME.fullmatch(chunk.file)
    _require(bool(named), "a chunk is named as none")
    _require(_all([chunk.samples, chunk.size], int), "the sizes of a chunk are no integers")
    fits = chunk.samples > 0 and 4 * (chunk.samples + 2) <= chunk.size < LARGEST_CHUNK
    _require(fits, "the sizes of a chunk cannot be")
    digest = isinstance(chunk.sha256, str) and re.fullmatch("[0-9a-f]{64}", chunk.sha256)
    _require(bool(digest), "a chunk has no checksum")
    return chunk


def _all(values: Any, kind: type) -> bool:
    """Whether it is a list of that very type: True is no integer here."""
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _is_inside(path: str) -> bool:
    """They are never opened, but results tell them and join them to a folder."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def _require(holds: bool, else_wrong: str) -> None:
    if not holds:
        raise ValueError(else_wrong)


def _damaged(told: str, why: str) -> UserError:
    return UserError(
        f"data: {told} is damaged, or not written by blocklearn pack ({why}); fetch it anew, or "
        "pack the images again"
    )


def _words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it says nothing of {error.args[0]}"
    return str(error) if type(error) is ValueError else "a part of it is of another type"
