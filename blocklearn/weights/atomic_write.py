"""Write files whole or not at all, and so that they outlast a crash of the machine."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocklearn.errors import UserError


@contextmanager
def replacing(path: Path, needed: int = 0) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends
    well, and is on the disk by then, and so is its name. After an error `path` is as it was. The
    temporary file is new and of a name that nobody can know before, so nothing is written through a
    link; what a killed process left of one goes. A new file has the rights that the user gives
    files (`umask`), one that is replaced keeps its own.

    Args:
        path: what to write.
        needed: bytes that are going to be written, where that is known; more than the disk has are
            refused at once.

    Raises:
        UserError: where the disk is full or the folder cannot be written; it names file, bytes
            needed and bytes free.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*unfinished"):
            left.unlink()
        require_room(path, needed)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = rights(path) or rights(unfinished)
        assert mode is not None
        yield unfinished
        unfinished.chmod(mode)  # some writers make a file of their own, for its owner alone
        flush(unfinished)
        os.replace(unfinished, path)
        flush(path.parent)
    except UserError:
        raise
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        full = isinstance(error, RuntimeError) and shutil.disk_usage(path.parent).free < max(
            needed, 1_000_000
        )
        reason = (
            "the disk is full"
            if full
            else getattr(error, "strerror", None) or str(error).splitlines()[0]
        )
        raise cannot_write(path, reason, max(needed, _size(unfinished))) from error
    finally:
        with suppress(OSError):  # on a disk that cannot be written there is none
            unfinished.unlink(missing_ok=True)


def rights(path: Path) -> int | None:
    """Who may read and write a file; None where there is no regular file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    return mode & 0o777 if stat.S_ISREG(mode) else None


def require_room(path: Path, needed: int) -> None:
    """Raises:
    UserError: where the disk of `path` has fewer than `needed` bytes free.
    """
    if needed > shutil.disk_usage(path.parent).free:
        raise cannot_write(path, "the disk is full", needed)


def cannot_write(path: Path, reason: str, needed: int) -> UserError:
    """The complaint about a file that could not be written: what was needed and what is free."""
    try:
        free = f"{_told(shutil.disk_usage(path.parent).free)} free on its disk"
    except OSError:
        free = "its folder cannot be looked into"
    kept = "; the one from before is untouched" if path.exists() else ""
    return UserError(f"cannot write {path}: {reason}; needed {_told(needed)}, {free}{kept}")


def _told(size: int) -> str:
    return (
        f"{size / 1e9:.1f} GB"
        if size >= 1e9
        else f"{size / 1e6:.1f} MB"
        if size >= 1e5
        else f"{size} bytes"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def flush(path: Path) -> None:
    """Wait until a file, or what a folder says of its files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
