"""Images a second from packed chunks, beside the same images in a folder.

The loader decodes each image into one plain view of 224 pixels, in training's shuffled order, in
this process and in two of its own: all that a run waits for. The rows below it read the encoded
bytes and decode nothing, in the same order: with the files in memory, and with the operating system
told to forget them before each turn. The last row has litdata's own reader as its baseline, asked
for the same samples by index. Ways take turns on the same machine.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.input import SIZE, make_photographs
from benchmarks.rows import Row, one_thread, run_rows
from blocklearn.data import ImageFolder, SingleView, Streaming
from blocklearn.data.images.folder_parts import FolderParts
from blocklearn.data.images.packing import pack

WORKERS = (0, 2)


def forget(folder: Path) -> None:
    """Ask the operating system to drop the files of a folder from memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def rates(
    ways: dict[str, Callable[[], int]], turns: int, before: Callable[[str], None] | None = None
) -> dict[str, list[float]]:
    """Images a second of each way, turn by turn; what is done `before` is not timed."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, turns):
        for name, way in ways.items():
            if before:
                before(name)
            start = time.perf_counter()
            count = way()
            if turn >= 0:
                found[name].append(count / (time.perf_counter() - start))
    return found


def loader_rows(folders: dict[str, Path], settings: argparse.Namespace) -> list[Row]:
    rows = []
    for workers in WORKERS:
        own: dict[str, Any] = {
            "recipe": SingleView,
            "image_size": SIZE,
            "batch_size": min(32, settings.images // 2),
            "num_workers": workers,
            "seed": 0,
        }
        loaders = {
            "ours": Streaming(folders["ours"], **own).train_dataloader(),
            "theirs": ImageFolder(folders["theirs"], **own).train_dataloader(),
        }

        def epoch(name: str, loaders: dict[str, Any] = loaders) -> int:
            return sum(len(batch.index) for batch in loaders[name])

        measured = rates({name: lambda name=name: epoch(name) for name in loaders}, settings.turns)
        rows.append(
            Row(
                f"loader, {workers} processes",
                f"one view at {SIZE} px, decoded",
                "ImageFolder",
                "images/s",
                measured["ours"],
                measured["theirs"],
                notes={"images": settings.images, "batch_size": own["batch_size"]},
            )
        )
    return rows


def reading_rows(folders: dict[str, Path], settings: argparse.Namespace) -> list[Row]:
    packed = Streaming(folders["ours"], held_out=0.01).pretraining_samples()
    files = FolderParts(folders["theirs"], held_out=0.01).train
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()

    def ours() -> int:
        return sum(bool(packed.content(index)) for index in order)

    def theirs() -> int:
        return sum(bool(files.paths[index].read_bytes()) for index in order)

    ways = {"ours": ours, "theirs": theirs}
    notes = {"images": len(files), "chunks": len(packed.chunks.split.chunks)}
    rows = []
    for state, before in (("in memory", None), ("not in memory", lambda n: forget(folders[n]))):
        measured = rates(ways, settings.turns, before)
        name, what = f"reading, {state}", "encoded bytes, shuffled"
        found = (measured["ours"], measured["theirs"])
        rows.append(Row(name, what, "files", "images/s", *found, notes=notes))

    from litdata import StreamingDataset

    reader = StreamingDataset(str(folders["ours"] / "train"))
    some = [packed.places[index] for index in order[: settings.by_litdata]]
    measured = rates(
        {
            "ours": lambda: sum(bool(packed.chunks.read(place)) for place in some),
            "theirs": lambda: sum(bool(reader[place][0]) for place in some),
        },
        settings.turns,
    )
    notes = {**notes, "images": len(some)}
    found = (measured["ours"], measured["theirs"])
    baseline = "litdata's reader, by index"
    rows.append(
        Row(
            "reading, litdata", "encoded bytes, shuffled", baseline, "images/s", *found, notes=notes
        )
    )
    return rows


def measure(settings: argparse.Namespace) -> list[Row]:
    """On one thread."""
    with one_thread(), tempfile.TemporaryDirectory(dir=settings.folder) as made:
        source = settings.root
        if source is None:
            source = Path(made) / "images"
            make_photographs(source, settings.images)
        folders = {"ours": Path(made) / "packed", "theirs": source}
        pack(source, folders["ours"])
        settings.images = len(FolderParts(source, held_out=0).train)
        return [*loader_rows(folders, settings), *reading_rows(folders, settings)]


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=5)
    parser.add_argument(
        "--root", type=Path, help="folder of JPEGs, one folder a class; without it they are made"
    )
    parser.add_argument("--images", type=int, default=1500, help="that are made")
    parser.add_argument("--by_litdata", type=int, default=100, help="read by litdata's reader")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one")


if __name__ == "__main__":
    run_rows(measure, __doc__, {"images": 12, "by_litdata": 4}, more_arguments)
