"""Files of a run's folder, which may come from a stranger: never read or written through a symbolic
link."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from blocklearn.weights.atomic_write import rights


def read_plain(path: Path) -> bytes | None:
    """What the file holds; None where there is none.

    Raises:
        OSError: where it is a link, no regular file, or cannot be read.
    """
    try:
        with os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def replace_plain(path: Path, content: bytes) -> None:
    """Put a file in the place of the one from before, whole or not at all; a link is replaced, not
    followed.

    Raises:
        OSError: where it cannot be written; the one from before is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        with os.fdopen(_open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(content)
            file.flush()
            if (mode := rights(path)) is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def append_plain(path: Path, content: bytes) -> None:
    """Add to the end of a file, all of `content` or nothing.

    Raises:
        OSError: where it is a link, no regular file, not there, or cannot be written; it is then as
            long as before.
    """
    descriptor = _open(path, os.O_WRONLY | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, content)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def require_room(folder: Path) -> None:
    """Write a few bytes and take them away again.

    Raises:
        OSError: where the folder is full or cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(4096))


def _open(path: Path, flags: int) -> int:
    """Does not wait where it is a pipe."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor


def _write_all(descriptor: int, content: bytes) -> None:
    """A disk that is nearly full takes the first part without a complaint."""
    written = 0
    while written < len(content):
        written += os.write(descriptor, content[written:])
