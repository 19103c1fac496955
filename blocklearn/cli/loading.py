"""A word while libraries are loaded, which takes seconds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

TEXT = "loading ..."


@contextmanager
def loading() -> Iterator[None]:
    """On a terminal, `loading ...` at once, which goes away when it is done, or by `loaded`. It is
    written to the standard error; where that is no terminal nothing is."""
    global _shown
    _shown = sys.stderr.isatty()
    if _shown:
        print(TEXT, end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        loaded()


def loaded() -> None:
    """What follows may print."""
    global _shown
    if _shown:
        print(f"\r{' ' * len(TEXT)}\r", end="", file=sys.stderr, flush=True)
    _shown = False


_shown = False
