"""What the class folders of a data set hold."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FolderContent:
    """Images, or videos.

    Attributes:
        word: for one of them.
        fetched: where a well-known data set of that kind comes from, in words.
        below: all in a class folder and the folders in it; counts the files that are none, by
            suffix.
        beside: those that lie in a folder itself; counts the other files, or does not.
    """

    word: str
    fetched: str
    below: Callable[[Path, Counter[str]], list[Path]]
    beside: Callable[[Path, Counter[str] | None], list[Path]]
