"""Features on disk, so that the next evaluation of the same network on the same data does not
compute them again."""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.weights.atomic_write import replacing

DEPTH = 6  # of what is looked into for plain values


class FeatureCache:
    """A folder of safetensors files, each named by the hash of all that its features depend on: the
    network's weights and structure, the kinds of feature, title, folders, split, labels and files
    (name, size, time) of the data, and the recipe. A file that cannot be read, or is not what it
    should be, is said in one line and computed anew.

    Args:
        folder: made where it is not there; None keeps nothing.
        network: whose features they are.
        kinds: of features; null for the default.
    """

    def __init__(
        self,
        folder: str | Path | None,
        network: BlockwiseModule,
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.folder = Path(folder) if folder else None
        self.keys = [spec.key for spec in network.feature_specs(kinds=kinds)]
        self._network = _of_network(network) if folder else ""

    def columns(
        self,
        data: KeyedDataModule,
        split: str,
        samples: Any,
        compute: Callable[[], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """From the file, or computed and then kept.

        Args:
            data: whose samples they are.
            split: what they are used for.
            samples: in order.
            compute: makes the columns, among them `label` and `index`.
        """
        if self.folder is None:
            return dict(compute())
        path = self.folder / f"{self.name(data, split, samples)}.safetensors"
        # a draw that depended on whether the file is there would make other probes of it
        with torch.random.fork_rng(devices=[]):
            found = self._read(path, len(samples))
            if found is None:
                found = {key: column.contiguous() for key, column in compute().items()}
                size = sum(column.nbytes for column in found.values())
                with replacing(path, size) as unfinished:
                    save_file(found, unfinished)
        return found

    def name(self, data: KeyedDataModule, split: str, samples: Any) -> str:
        """Of the file of these samples."""
        return _hash(
            self._network,
            self.keys,
            type(data).__name__,
            data.title,
            data.target,
            [str(root.resolve()) for root in data.roots],
            split,
            len(samples),
            plain(data.recipe),
            getattr(data, "image_size", None),
            _of_samples(samples),
        )

    def _read(self, path: Path, count: int) -> dict[str, Tensor] | None:
        if not path.exists():
            return None
        try:
            found = load_file(path)
            wanted = {*self.keys, "label", "index"}
            if found.keys() != wanted or any(len(column) != count for column in found.values()):
                raise ValueError("it holds other features")
        except (OSError, ValueError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            print(f"{path} cannot be used and is computed anew: {reason}", file=sys.stderr)
            return None
        print(f"Features from {path}", file=sys.stderr)
        return found


def plain(value: Any, depth: int = DEPTH) -> Any:
    """What an object was built with, as far as it is plain data: the same in every process."""
    if isinstance(value, str | int | float | bool | bytes | type(None)):
        return repr(value)
    if isinstance(value, Tensor):
        return _hash(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    if isinstance(value, Mapping):
        return [(str(key), plain(inner, depth - 1)) for key, inner in value.items()]
    if isinstance(value, list | tuple | range):
        return [type(value).__name__, *(plain(inner, depth - 1) for inner in value)]
    inside = getattr(value, "__dict__", None) if depth > 0 else None
    return [type(value).__qualname__, plain(inside, depth - 1) if inside else ""]


def _of_network(network: BlockwiseModule) -> str:
    return _hash(plain(network.structure.as_plain()), plain(network.state_dict()))


def _of_samples(samples: Any) -> str:
    """By files where they are such; otherwise by labels, and by pixels in memory."""
    paths = getattr(samples, "paths", None)
    files = [_file(Path(path)) for path in paths] if paths is not None else None
    positions = getattr(samples, "positions", None)
    inner = samples
    while hasattr(inner, "samples"):
        inner = inner.samples
    pixels = getattr(inner, "pixels", None)
    inside = None if pixels is None else _hash(torch.as_tensor(pixels).numpy().tobytes())
    labels = getattr(samples, "labels", None)
    told = None if labels is None else torch.as_tensor(labels).tolist()
    return _hash(type(inner).__qualname__, files, plain(positions), inside, told)


def _file(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), status.st_size, status.st_mtime_ns


def _hash(*parts: Any) -> str:
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes | memoryview):
            made.update(part)
        else:
            made.update(repr(part).encode())
        made.update(b"\0")
    return made.hexdigest()[:32]
