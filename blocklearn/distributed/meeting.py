"""The processes of one start of a run find each other, and none of a start before."""

import time
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from blocklearn.errors import UserError

# for all processes to be started, import and read what they need
START = timedelta(minutes=10)


def meet(store: Any, rank: int, size: int, limit: timedelta = START) -> str:
    """Wait until all processes of this start are there.

    torchrun may keep a store from start to start, in which those that died have left their names.
    How often it has started is no name for a start either: each machine counts for itself, and
    only those on which a process died count. So every process draws a name, the first lists them,
    and all who find their own name in the list say so; the list to which all have said so is that
    of the living.

    Args:
        store: that all processes reach.
        rank: of this one.
        size: number of processes.
        limit: longest wait.

    Returns:
        A name of this start, the same on every process.

    Raises:
        UserError: where some do not come in time.
    """
    own = uuid4().hex[:12]
    keys = [f"here/{number}" for number in range(size)]
    store.set(keys[rank], own)
    until = time.monotonic() + limit.total_seconds()
    start, come = "", 0
    while come < size:
        seen = _listed(store, keys) if rank == 0 else _told(store)
        if seen and own in store.get(f"names/{seen}").decode().split(","):
            come = store.add(f"come/{seen}", int(seen != start))
            start = seen
        if come < size:
            if time.monotonic() > until:
                raise UserError(_missing(come, size, limit))
            time.sleep(0.02)
    return start


def _listed(store: Any, keys: list[str]) -> str:
    """The first process' part: a list of all names, as they are now."""
    if not store.check(keys):
        return ""
    names = b",".join(store.multi_get(keys))
    start = sha256(names).hexdigest()[:12]
    store.set(f"names/{start}", names)
    store.set("start", start)
    return start


def _told(store: Any) -> str:
    return store.get("start").decode() if store.check(["start"]) else ""


def _missing(come: int, size: int, limit: timedelta) -> str:
    who = f"only {come} of {size}" if come else f"not all of {size}"
    return (
        f"{who} processes came within {limit.total_seconds():.0f} s: look at what the others "
        "print, and whether they reach MASTER_ADDR and MASTER_PORT"
    )
