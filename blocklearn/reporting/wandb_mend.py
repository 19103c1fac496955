"""Mend W&B's own file where its writer was killed: `wandb sync` stops at a record that was cut, and
at all that follows."""

import os
from contextlib import suppress
from pathlib import Path

from blocklearn.reporting.plain_files import read_plain

IDENT = 7  # bytes at the start of the file
BLOCK = 32768  # no piece of a record crosses a multiple of it
HEADER = 7  # bytes before a piece: checksum (4), length (2), kind (1)
FULL, LAST = 1, 4  # kinds of pieces with which a record ends


def mend_files(folder: Path, run_id: str) -> None:
    """Cut the incomplete record off the files of a run that goes on; what cannot be mended stays as
    it is."""
    for place in (folder / "wandb").glob(f"*run-*-{run_id}"):
        path = place / f"run-{run_id}.wandb"
        with suppress(OSError):
            content = b"" if place.is_symlink() else read_plain(path) or b""
            whole = end_of_whole_records(content)
            if IDENT < whole < len(content):
                os.truncate(path, whole)


def holds_records(place: Path, run_id: str) -> bool:
    """Whether there is anything to upload; `wandb sync` stops at a file that was only begun."""
    try:
        return end_of_whole_records(read_plain(place / f"run-{run_id}.wandb") or b"") > IDENT
    except OSError:
        return False


def end_of_whole_records(content: bytes) -> int:
    """Where the last record ends of which every byte is there."""
    at = whole = IDENT
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # too little is left of the block; it is filled up
            at += BLOCK - at % BLOCK
            continue
        kind = content[at + 6]
        at += HEADER + int.from_bytes(content[at + 4 : at + 6], "little")
        if kind not in range(FULL, LAST + 1) or at > len(content):
            break
        whole = at if kind in (FULL, LAST) else whole
    return whole
