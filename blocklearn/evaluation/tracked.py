"""A long loop that is seen to be alive."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from rich.progress import track

BETWEEN_LINES = 60.0  # seconds


def tracked(what: str, things: Iterable[Any], total: int | None = None) -> Iterator[Any]:
    """The things, one by one: with a bar that goes away on a terminal, with a line a minute
    elsewhere.

    Args:
        what: is done with them.
        things: for the loop.
        total: how many there are, where they do not say.
    """
    if sys.stdout.isatty():
        return iter(track(things, what, total, transient=True))
    return _in_log(what, things, total)


def _in_log(what: str, things: Iterable[Any], total: int | None) -> Iterator[Any]:
    count = total if total is not None else getattr(things, "__len__", lambda: "?")()
    last = time.monotonic()
    for number, thing in enumerate(things, 1):
        yield thing
        if time.monotonic() - last > BETWEEN_LINES:
            print(f"{what}: {number}/{count}", flush=True)
            last = time.monotonic()
