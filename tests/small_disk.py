"""A real disk of a few bytes, to be filled or made read-only; only where mounting is permitted (as
root)."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Path]:
    """A file system in memory, mounted while the block runs; the test is skipped where mounting is
    not permitted.

    Args:
        folder: in which the mount point `disk` is made.
        num_bytes: its size, rounded up to pages of 4096.
    """
    disk = folder / "disk"
    disk.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(disk))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
    try:
        yield disk
    finally:
        _run("umount", "--lazy", str(disk))


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk but for `leave` bytes (rounded to its pages) with one file, which is returned."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - leave))
    return ballast


def make_read_only(disk: Path) -> None:
    """Nothing on it can be written any more; no file on it may be open for writing."""
    _run("mount", "-o", "remount,ro", str(disk))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
