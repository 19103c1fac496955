"""Features that stand in for views, in a folder that loader processes map into memory."""

import json
import shutil
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from blocklearn.batch import Batch
from blocklearn.errors import UserError

ABOUT = "about.json"  # written last: a folder that holds it is complete


class StoredViews:
    """A folder of features, one file per view, and labels. An item is one sample's `Batch`, read
    from the disk when it is asked for.

    Args:
        folder: that `store_views` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.views, self.label = _open(folder)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> Batch:
        stored = [view[index].clone() for view in self.views]
        return Batch([], self.label[index].clone(), torch.tensor(index), stored)


def store_views(folder: Path, batches: Iterable[Batch], count: int, fingerprint: str) -> None:
    """Write the views of `count` samples, batch by batch, in the order in which they come: where a
    sample could not be read, the one that stands in for it is kept in its place. A folder that was
    begun and not finished is written anew.

    Args:
        folder: for nothing else.
        batches: whose `stored` to keep, in the data set's order.
        count: samples in all.
        fingerprint: of what made them, for `is_stored`.

    Raises:
        UserError: where the disk has not the room; it says how much is needed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _open.cache_clear()
    folder.mkdir(parents=True)
    columns: list[Tensor] = []
    shapes: list[Sequence[int]] = []
    dtypes: list[torch.dtype] = []
    first = 0
    for batch in batches:
        parts = [*(view.cpu() for view in batch.stored), batch.label.cpu()]
        if not columns:
            _require_room(folder, sum(part[0].nbytes for part in parts) * count)
            shapes, dtypes = (
                [(count, *part.shape[1:]) for part in parts],
                [part.dtype for part in parts],
            )
            columns = [
                _map(folder, number, *like)
                for number, like in enumerate(zip(shapes, dtypes, strict=True))
            ]
        for column, part in zip(columns, parts, strict=True):
            column[first : first + len(part)] = part
        first += len(batch.label)
    about = {
        "fingerprint": fingerprint,
        "shapes": [list(shape) for shape in shapes],
        "dtypes": [str(dtype).removeprefix("torch.") for dtype in dtypes],
    }
    (folder / ABOUT).write_text(json.dumps(about))


def is_stored(folder: Path, fingerprint: str) -> bool:
    """Whether the folder is complete and was made by what the fingerprint says."""
    path = folder / ABOUT
    return path.is_file() and json.loads(path.read_text())["fingerprint"] == fingerprint


@lru_cache(maxsize=2)
def _open(folder: Path) -> tuple[list[Tensor], Tensor]:
    about = json.loads((folder / ABOUT).read_text())
    dtypes = [getattr(torch, name) for name in about["dtypes"]]
    *views, label = (
        _map(folder, number, *like)
        for number, like in enumerate(zip(about["shapes"], dtypes, strict=True))
    )
    return views, label


def _map(folder: Path, number: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    size = torch.Size(shape)
    return torch.from_file(
        str(folder / f"{number}.bin"), shared=True, size=size.numel(), dtype=dtype
    ).reshape(size)


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the features to store need {needed / 1e9:.1f} GB, {folder.resolve()} has "
            f"{free / 1e9:.1f} GB left; name another folder, or leave the cache of frozen blocks "
            "out"
        )
