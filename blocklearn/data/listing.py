"""The files of a folder and the folders in it."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """All files below a folder that end in one of the suffixes, sorted by path as `sorted(folder.rglob("*"))` is.

    Links are followed, except to a folder that holds them; a link to nothing counts as a file, so that it is missed when
    it is read, and not before. Folders that may not be looked into are passed over. No file but a link is looked at.

    Args:
        folder: where to look.
        suffixes: lower case, with their dot; in file names any case will do.
    """
    real = os.path.realpath(folder)
    return [Path(path) for path in _walk(str(folder), real, frozenset({real}), frozenset(suffixes))]


def _walk(folder: str, real: str, above: frozenset[str], suffixes: frozenset[str]) -> Iterator[str]:
    """`real` is the folder without links on the way to it, `above` are those of the folders that led here."""
    for entry in _entries(folder):
        if _is_folder(entry):
            inner = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
            if inner not in above and not real.startswith(os.path.join(inner, "")):
                yield from _walk(entry.path, inner, above | {inner}, suffixes)
        elif os.path.splitext(entry.name)[1].lower() in suffixes and _is_file(entry):
            yield entry.path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except PermissionError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Or a link to nothing; a pipe would be waited for without end."""
    try:
        return entry.is_file() or not os.path.exists(entry.path)
    except OSError:
        return True
