"""The list of samples that could not be read, in the folder of a run."""

import csv
import io
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

HEADER = ["file", "reason"]
LEFT_OUT = "left out: "  # so begins the reason of a sample that is listed, and no part of the set
PATIENCE = 100  # times that a hundredth of a second is waited for another process


class UnreadableList:
    """A CSV file of two columns, file and reason, that every process of a run adds to: what all of
    them, and the run before it was resumed, have found lies here and nowhere else. A line that
    cannot be read is passed over. A symbolic link in its place is never followed.

    Args:
        path: of the list, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, file: str, reason: str) -> dict[str, str]:
        """Append one line, unless the file is listed. Returns reason by file of all that are
        listed.

        Args:
            file: one line of text.
            reason: one line of text.

        Raises:
            OSError: where the list cannot be written.
        """
        return self.add_all({file: reason})

    def add_all(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """The same of several files, reason by file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened(os.O_RDWR | os.O_CREAT | os.O_APPEND) as handle:
            _lock(handle.fileno())
            content = handle.read()
            listed = _parsed(content)
            new = [[file, reason] for file, reason in reasons.items() if file not in listed]
            if new:
                # One write keeps lines whole where there are no locks. A list that breaks off gets
                # its line break.
                before = _line(HEADER) if not content else b"" if content.endswith(b"\n") else b"\n"
                handle.write(before + b"".join(map(_line, new)))
            return {**reasons, **listed}

    def read(self) -> dict[str, str]:
        """Reason by file; empty where there is no list.

        Raises:
            OSError: where there is one that cannot be read.
        """
        try:
            with self._opened(os.O_RDONLY) as handle:
                return _parsed(handle.read())
        except FileNotFoundError:
            return {}

    def _opened(self, flags: int) -> io.FileIO:
        # the second for a pipe in its place
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = io.FileIO(
            self.path,
            "r+" if flags & os.O_RDWR else "r",
            opener=lambda path, _: os.open(path, flags, 0o666),
        )
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            handle.close()
            raise OSError(f"{self.path} is no ordinary file")
        return handle


def _lock(descriptor: int) -> None:
    """Keep two processes from listing the same file; where locks do not work the list is merely
    longer."""
    with suppress(ImportError, OSError):
        import fcntl  # not on every system

        for _ in range(PATIENCE):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)


def _parsed(content: bytes) -> dict[str, str]:
    listed = {}
    for line in content.decode("utf-8-sig", "replace").split("\n"):
        with suppress(csv.Error):
            row = next(csv.reader([line]), [])
            if len(row) == len(HEADER) and row != HEADER:
                listed.setdefault(*row)
    return listed


def _line(row: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode()
