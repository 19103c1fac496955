"""Why a class path leads nowhere, in a line: the module is not found, cannot be imported, or has no
such name."""

import os
import sys
import traceback
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

LIBRARIES = ("blocklearn", "torch", "torchvision", "lightning", "timm")
NOT_THEIRS = ("/jsonargparse/", "/importlib/", "<frozen ", "/typing.py")


def why_not(path: str) -> str | None:
    """What is wrong with a class path; None where it leads to something.

    Args:
        path: as `my_parts.CosineDistance`.
    """
    first, *rest = path.split(".")
    if not all(part.isidentifier() for part in (first, *rest)):
        return f"{path} is no class path; it is written my_parts.MyPart"
    if first not in sys.modules and _spec(first) is None:
        return _not_found(first)
    found: Any = None
    for position in range(len(rest) + 1):
        name = ".".join((first, *rest[:position]))
        here = found if position else None
        try:
            found = getattr(here, rest[position - 1]) if position else import_module(name)
        except AttributeError:
            if not isinstance(here, ModuleType) or _spec(name) is None:
                return _no_such_name(here, rest[position - 1])
            found, failed = _imported(name)
            if failed:
                return failed
        except Exception as error:  # whatever a module does when it is imported
            return told_of_import(name, error)
    return None


def told_of_import(name: str, error: BaseException) -> str:
    """Where in a file of the user's an import failed, and of what."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"cannot import {name}: {error.filename}, line {error.lineno}: {error.msg}"
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    place = _theirs(error)
    return f"cannot import {name}: {f'{place}: ' if place else ''}{reason}"


def _theirs(error: BaseException) -> str:
    """File and line of the innermost frame that is neither the parser's nor Python's import; empty
    where there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in NOT_THEIRS)
        and Path(frame.filename).resolve().parent != Path(__file__).resolve().parent
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _imported(name: str) -> tuple[Any, str | None]:
    try:
        return import_module(name), None
    except Exception as error:
        return None, told_of_import(name, error)


def _spec(name: str) -> object:
    try:
        return find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _not_found(module: str) -> str:
    here = next((path for path in (Path(f"{module}.py"), Path(module)) if path.exists()), None)
    if here is not None:
        name = here.name if here.is_file() else f"{here.name}/"
        return (
            f"there is no module {module} on Python's path; {name} lies in this folder, from which "
            "nothing is imported unasked: write PYTHONPATH=. blocklearn ..."
        )
    near = get_close_matches(module, LIBRARIES, n=1)
    if near:
        return f"there is no module {module}; did you mean {near[0]}?"
    looked = os.environ.get("PYTHONPATH")
    where = f"PYTHONPATH ({looked})" if looked else "PYTHONPATH, which is not set"
    return (
        f"there is no module {module}: it is not installed, nor in {where}, nor in this folder; "
        f"where {module}.py lies in FOLDER, write PYTHONPATH=FOLDER blocklearn ..."
    )


def _no_such_name(place: Any, name: str) -> str:
    public = [one for one in dir(place) if not one.startswith("_")]
    called = getattr(place, "__name__", place)
    near = get_close_matches(name, public, n=1)
    if near:
        return f"{called} has no {name}; did you mean {called}.{near[0]}?"
    classes = [one for one in public if _defined_there(place, one)]
    listed = f"; its classes are {', '.join(classes[:8])}" if classes else ""
    return f"{called} has no {name}{listed}"


def _defined_there(place: Any, name: str) -> bool:
    part = getattr(place, name, None)
    return isinstance(part, type) and part.__module__ == getattr(place, "__name__", None)
