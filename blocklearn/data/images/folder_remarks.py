"""What is odd about a folder of images or videos, in words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from blocklearn.data.folder_content import FolderContent

ByClass = dict[str, list[Path]]  # what each class folder holds
MOST_NAMED = 5


def remarks(
    root: Path,
    classes: Sequence[str],
    train: tuple[Path, ByClass],
    test: tuple[Path, ByClass] | None,
    others: Counter[str],
    content: FolderContent,
) -> Iterator[str]:
    """One line each.

    Args:
        root: that was asked for; the folder of training images or the one that holds it.
        classes: those with images; empty for unlabelled images.
        train: its folder, and the images of the class folders in it.
        test: the same; None where a part of the training images is held out.
        others: files that are read as no image, by suffix.
        content: what they are, if not images.
    """
    folder, learnt = train
    word = content.word
    tested = test[1] if test else {}
    if classes:
        within = [folder, test[0]] if test else [folder]
        yield from _loose(within, "the class folders of", content)
    if folder != root:
        yield from _loose([root], f"the folder {folder.name} of", content)
    empty = sorted(name for name in learnt if name and not learnt[name] and not tested.get(name))
    if empty:
        yield (
            f"no {word} in {_named(empty)} of {folder}, which so "
            f"{_one_or(empty, 'is no class', 'are no classes')}"
        )
    if test:
        untested = [name for name in classes if not tested.get(name)]
        unlearnt = [name for name in classes if not learnt[name]]
        yield from _of_one_split(untested, folder, test[0], word, "learnt and never tested")
        yield from _of_one_split(unlearnt, test[0], folder, word, "tested and never learnt")
    if others:
        yield f"files in {root} that are read as no {word}: {kinds(others)}"


def kinds(others: Counter[str]) -> str:
    """How many files of each suffix: `2 .heic, 1 .txt`."""
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))


def _loose(folders: Sequence[Path], beside: str, content: FolderContent) -> Iterator[str]:
    for folder in folders:
        count = len(content.beside(folder, None))
        if count:
            are = " is" if count == 1 else "s are"
            yield f"{count} {content.word}{are} beside {beside} {folder} and left out"


def _of_one_split(
    names: Sequence[str], here: Path, there: Path, word: str, what: str
) -> Iterator[str]:
    if names:
        has = _one_or(
            names, f"has no {word} in {there}: it is", f"have no {word} in {there}: they are"
        )
        yield f"{_named(names)} of {here} {has} {what}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{_one_or(names, 'class', 'classes')} {', '.join(names[:MOST_NAMED])}{more}"


def _one_or(names: Sequence[str], one: str, more: str) -> str:
    return one if len(names) == 1 else more
