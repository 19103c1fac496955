"""The files of a folder and the folders in it, without those that nobody put there as data."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

SYSTEMS_OWN = {
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "desktop.ini",
    "__pycache__",
}
COMPARISON = {"comparison.png", "comparison.csv"}


def list_files(
    folder: Path, suffixes: Collection[str], others: Counter[str] | None = None
) -> list[Path]:
    """All files below a folder that end in one of the suffixes, sorted by path as
    `sorted(folder.rglob("*"))` is.

    Left out is what nobody put there as data: names that begin with a dot, what operating systems
    write (`Thumbs.db`, `__MACOSX`, ...), and the folders of training runs (`is_output`).

    Links are followed, except to a folder that holds them; a link to nothing counts as a file, so
    that it is missed when it is read, and not before. Folders that may not be looked into are
    passed over. No file but a link is looked at.

    Args:
        folder: where to look.
        suffixes: lower case, with their dot; in file names any case will do.
        others: counts the files with another suffix, by it.
    """
    real = os.path.realpath(folder)
    found = _walk(
        str(folder),
        real,
        frozenset({real}),
        frozenset(suffixes),
        Counter() if others is None else others,
    )
    return [Path(path) for path in found]


def list_here(
    folder: Path, suffixes: Collection[str], others: Counter[str] | None = None
) -> list[Path]:
    """The same of a folder itself, without the folders in it."""
    entries = [entry for entry in _data_in(str(folder)) if not _is_folder(entry)]
    return [
        Path(path)
        for path in _chosen(entries, frozenset(suffixes), Counter() if others is None else others)
    ]


def is_data(name: str) -> bool:
    """Whether a file or folder of that name may be somebody's data."""
    return not name.startswith(".") and name.lower() not in SYSTEMS_OWN


def is_output(folder: Path) -> bool:
    """Whether a folder is what training left: that of a run of blocklearn (`config.yaml` beside
    `checkpoints` or `metrics.csv`), of its checkpoints or of an evaluation, W&B's or Lightning's
    (`run-*`, `offline-run-*`, `version_*`), or one that holds such folders and nothing else. A
    class may be called `runs` or `wandb`."""
    entries = [entry for entry in _entries(str(folder)) if is_data(entry.name)]
    if _is_run({entry.name for entry in entries}):
        return True
    folders = [entry for entry in entries if _is_folder(entry)]
    if any(entry.name.startswith(("run-", "offline-run-", "version_")) for entry in folders):
        return folder.name in ("wandb", "lightning_logs")
    return (
        bool(folders)
        and len(folders) == len(entries)
        and all(is_output(Path(entry.path)) for entry in folders)
    )


def _is_run(names: set[str]) -> bool:
    """Or an evaluation of one, or its checkpoints."""
    if names and all(name.endswith(".ckpt") for name in names):
        return True
    run = "config.yaml" in names and bool({"checkpoints", "metrics.csv"} & names)
    return run or {"results.json", "accuracy_by_block.png"} <= names


def _walk(
    folder: str, real: str, above: frozenset[str], suffixes: frozenset[str], others: Counter[str]
) -> Iterator[str]:
    """`real` is the folder without links on the way to it, `above` are those of the folders that
    led here."""
    entries = _data_in(folder)
    # below the folder that was asked for
    if len(above) > 1 and _is_run({entry.name for entry in entries}):
        return
    for entry in entries:
        if _is_folder(entry):
            inner = (
                os.path.realpath(entry.path)
                if entry.is_symlink()
                else os.path.join(real, entry.name)
            )
            if inner not in above and not real.startswith(os.path.join(inner, "")):
                yield from _walk(entry.path, inner, above | {inner}, suffixes, others)
        else:
            yield from _chosen([entry], suffixes, others)


def _chosen(
    entries: list[os.DirEntry[str]], suffixes: frozenset[str], others: Counter[str]
) -> Iterator[str]:
    for entry in entries:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix not in suffixes:
            others[suffix or "no suffix"] += 1
        elif _is_file(entry):
            yield entry.path


def _data_in(folder: str) -> list[os.DirEntry[str]]:
    """Without the picture that `blocklearn compare` leaves beside its table."""
    entries = [entry for entry in _entries(folder) if is_data(entry.name)]
    compared = {entry.name for entry in entries} >= COMPARISON
    return [entry for entry in entries if not compared or entry.name not in COMPARISON]


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
