"""The commands that README and the pages of the documentation show, as a shell would split them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
    if path.name != "log.md"  # of its time
]
FENCE = re.compile(r"^ *```(?:bash|sh|console|text)?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|\s|-m )blocklearn (?=[a-z-])(.*)$")
INLINE = re.compile(r"`blocklearn ([a-z][^`]*)`")


class Documented(NamedTuple):
    """A command, and where it stands.

    Attributes:
        page: name of the file.
        arguments: behind `blocklearn`.
        shown: in a block of its own, to be typed as it stands, rather than within a sentence.
    """

    page: str
    arguments: tuple[str, ...]
    shown: bool

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.arguments)}"


def documented_commands() -> list[Documented]:
    """Each once a page, in the order of the pages."""
    found = [
        Documented(page.name, split, shown)
        for page in PAGES
        for line, shown in _lines(page.read_text())
        if (split := _split(line))
    ]
    return list(dict.fromkeys(found))


def _lines(text: str) -> list[tuple[str, bool]]:
    blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    typed = [
        line for line in blocks.splitlines() if not line.startswith("$ ")
    ]  # else, what it says
    matches = (COMMAND.search(line) for line in typed)
    within = ((line, False) for line in INLINE.findall(text))
    return [*((match[1], True) for match in matches if match), *within]


def _split(line: str) -> tuple[str, ...]:
    """Without comments, what a shell reads behind the command, and what may be left out."""
    line = re.sub(r"\s#.*$|\s[>|&;].*$", "", f"{line} ")
    line = re.sub(r"\s\[\w.*? \.\.\.\]", "", line)
    return tuple(shlex.split(line))
