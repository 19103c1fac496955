"""`blocklearn pack`: a folder of images as a few large files, for slow disks and clouds."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from blocklearn.errors import UserError


def run_pack(args: list[str]) -> None:
    """Write the chunks and say what to do with them."""
    parser = argparse.ArgumentParser(
        prog="blocklearn pack",
        description=(
            "A folder of images as a few large files, for slow disks and clouds. Images keep their "
            "bytes, and training on them is bitwise that of --data ImageFolder."
        ),
        epilog=(
            "Example: blocklearn pack data/imagenet data/packed, then blocklearn fit ... --data "
            "Streaming --data.root data/packed"
        ),
    )
    parser.add_argument(
        "source", type=Path, help="holds train/CLASS/IMAGE, and val/CLASS/IMAGE (or test)"
    )
    parser.add_argument("target", type=Path, help="a folder that is new or empty")
    parser.add_argument(
        "--chunk_mb",
        type=int,
        default=64,
        metavar="N",
        help="about the megabytes of a file, from 1 to 2000 (default: %(default)s)",
    )
    options = parser.parse_args(args)
    if not 1 <= options.chunk_mb <= 2000:
        raise UserError(f"pack: --chunk_mb must lie between 1 and 2000, got {options.chunk_mb}")

    from blocklearn.data.images.packing import pack

    index = pack(options.source, options.target, options.chunk_mb * 1_000_000, _progress)
    images = " and ".join(f"{len(split.paths)} for {name}" for name, split in index.splits.items())
    chunks = [chunk for split in index.splits.values() for chunk in split.chunks]
    size = sum(chunk.size for chunk in chunks) / 1e6
    classes = f"{len(index.classes)} classes" if index.classes else "no labels"
    print(
        f"Written: {options.target}: images {images}, {classes}, in {len(chunks)} chunks of "
        f"{size:.1f} MB in all"
    )
    print(
        f"Next: blocklearn fit --config NAME_OR_PATH --data Streaming --data.root {options.target}"
    )


def _progress(
    files: Iterable[tuple[Path, int]], split: str, count: int
) -> Iterable[tuple[Path, int]]:
    from rich.console import Console
    from rich.progress import track

    return track(files, f"Packing {split}", count, console=Console(stderr=True))
