"""`--KEY.help`: which parts can stand at a key; `--KEY.help NAME`: what one is and takes."""

import inspect
import re
import shutil
from dataclasses import is_dataclass
from typing import Any

from jsonargparse._typehints import get_help_types
from jsonargparse._util import import_object

from blocklearn.cli.class_paths import why_not
from blocklearn.cli.flags import Flag
from blocklearn.cli.help_command import part_asked
from blocklearn.cli.help_page import arguments_page, first_sentence
from blocklearn.cli.parser_flags import flags_of_part, typehint_at
from blocklearn.cli.parser_of import parser_of
from blocklearn.cli.parts import known_parts, offered_parts
from blocklearn.cli.wrong_values import nearest
from blocklearn.errors import UserError


def show_part(args: list[str]) -> None:
    """Print what `--KEY.help` in the arguments of a verb asks for.

    Raises:
        UserError: for a key at which no part can stand, or a part that there is not.
    """
    key, name = part_asked(args) or ("", "")
    typehint = typehint_at(parser_of(args[0]), key)
    kinds = get_help_types(typehint) if typehint is not None else None
    if not kinds:
        raise UserError(
            f"{args[0]}: no part is named at --{key}; blocklearn {args[0]} --help=all lists the "
            "flags"
        )
    width = shutil.get_terminal_size((80, 24)).columns
    if is_dataclass(kinds[0]):  # settings of one kind, there is nothing to choose
        name = f"{kinds[0].__module__}.{kinds[0].__qualname__}"
    print(
        _page(key, name, typehint, width) if name else _list(args[0], key, typehint, width), end=""
    )


def _list(verb: str, key: str, typehint: Any, width: int) -> str:
    parts = [Flag(name, text=_opening(path)) for name, path in offered_parts(typehint).items()]
    title = (
        f"What can stand at --{key}, by short name; a class path does too. What each takes: "
        f"blocklearn {verb} --{key}.help NAME"
    )
    page = arguments_page(title, "", parts, width)
    return re.sub(r"^  --", "  ", page, flags=re.MULTILINE)


def _page(key: str, name: str, typehint: Any, width: int) -> str:
    known = known_parts(typehint)
    path = known.get(name, name)
    wrong = (
        why_not(path) if "." in path else f"there is no {name}{_meant(name, list(known), typehint)}"
    )
    if wrong:
        raise UserError(f"{key}: {wrong}")
    flags = flags_of_part(key, path, typehint)
    return arguments_page(f"{path}, at --{key}", _described(path), flags, width)


def _meant(name: str, known: list[str], typehint: Any) -> str:
    near, offered = nearest(name, known), ", ".join(offered_parts(typehint))
    return f"; did you mean {near}?" if near else f"; there is {offered}, or a class path"


def _described(path: str) -> str:
    """A class' docstring before its arguments; of other libraries' the opening alone."""
    doc = (inspect.getdoc(_kind(path)) or "").replace("`", "")
    before = re.split(r"\n\s*(?:Args|Arguments|Attributes|Raises|Returns|Parameters):", doc)[0]
    own = not path.startswith(("torch.", "lightning."))
    return before.strip() if own else before.partition("\n\n")[0].strip()


def _kind(path: str) -> Any:
    return import_object(path, check_path=False)


def _opening(path: str) -> str:
    doc = " ".join((inspect.getdoc(_kind(path)) or "").partition("\n\n")[0].split())
    return first_sentence(doc.replace("`", ""))
