"""From the parser of a verb to its flags as plain data, with the arguments of the parts that can
stand at each."""

import argparse
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse._actions import _ActionConfigLoad, _ActionHelpClassPath
from jsonargparse._typehints import ActionTypeHint, get_class_types

from blocklearn.cli.flags import Flag
from blocklearn.cli.parts import arguments_of, offered_parts
from blocklearn.cli.trainer_help import NAMED, REFUSED, VALUES

WORDS = {int: "N", float: "X", str: "TEXT", Path: "PATH", bool: "{true,false}"}


def flags_of(parser: argparse.ArgumentParser) -> dict[str, Flag]:
    """By name, in the parser's order; each part's arguments behind the flag that names it. What
    is always refused is left out."""
    found: dict[str, Flag] = {}
    for action in parser._actions:
        for flag in _of_action(action):
            found.setdefault(flag.name, flag)
    return found


def _of_action(action: argparse.Action) -> Iterator[Flag]:
    long = [option for option in action.option_strings if option.startswith("--")]
    if not long or isinstance(action, (_ActionConfigLoad, _ActionHelpClassPath)):
        return
    name = long[0].removeprefix("--")
    if name in REFUSED or name == "help":
        return
    adds = any(option.endswith("+") for option in long)
    if not isinstance(action, ActionTypeHint):
        yield Flag(name, VALUES.get(name, ""), _one_line(action.help or ""))
        return
    yield from _of_value(
        name, action._typehint, action.default, action.help or "", adds, seen=(), of=()
    )


def _of_value(
    name: str,
    typehint: Any,
    default: Any,
    text: str,
    adds: bool,
    seen: tuple[Any, ...],
    of: tuple[str, ...],
) -> Iterator[Flag]:
    """The flag itself, then what the parts that can stand there take."""
    word, choices = _word(typehint)
    parts = {} if name == "trainer.plugins" else _parts(typehint)
    listed = [*NAMED.get(name, choices), *(() if name in NAMED else parts)]
    kinds = _kinds(typehint)
    value = VALUES.get(name) or VALUES.get(name.rpartition(".")[2]) or word
    opened = bool(kinds) or value not in ("", "{" + ",".join(choices) + "}")
    yield Flag(
        name,
        value,
        _one_line(text),
        _default(default),
        choices=listed,
        open=opened,
        parts=bool(kinds) and name not in NAMED and name != "model.per_block",
        of=list(of),
        adds=adds,
        nested=bool(seen),
    )
    if kinds and not kinds & set(seen) and name not in ("trainer.strategy", "trainer.logger"):
        yield from _of_parts(name, typehint, parts, (*seen, *kinds))


def _of_parts(
    place: str, typehint: Any, parts: dict[str, str], seen: tuple[Any, ...]
) -> Iterator[Flag]:
    taken: dict[str, list[tuple[str, Any]]] = {}
    for part, path in parts.items():
        if path.startswith("lightning."):  # of its own documentation
            continue
        for parameter in arguments_of(path, _given_by_code(typehint)):
            taken.setdefault(parameter.name, []).append((part, parameter))
    for key, takers in taken.items():
        first = takers[0][1]
        defaults = {_default(parameter.default) for _, parameter in takers}
        own = tuple(part for part, _ in takers) if len(takers) < len(parts) else ()
        default = first.default if len(defaults) == 1 else None
        doc = Counter(parameter.doc or "" for _, parameter in takers).most_common(1)[0][0]
        yield from _of_value(f"{place}.{key}", first.annotation, default, doc, False, seen, own)


def typehint_at(parser: argparse.ArgumentParser, key: str) -> Any:
    """The type of a flag, or of an argument of a part at it; None where there is none such."""
    actions = {action.dest: action for action in parser._actions}
    words = key.split(".")
    end = next((n for n in range(len(words), 0, -1) if ".".join(words[:n]) in actions), 0)
    typehint = getattr(actions.get(".".join(words[:end])), "_typehint", None)
    for word in words[end:]:
        found = (p for path in _parts(typehint).values() for p in arguments_of(path))
        typehint = next((p.annotation for p in found if p.name == word), None)
    return typehint


def flags_of_part(key: str, path: str, typehint: Any) -> Iterator[Flag]:
    """What one part takes, and nothing of the parts in it."""
    for parameter in arguments_of(path, _given_by_code(typehint)):
        name, doc = f"{key}.{parameter.name}", parameter.doc or ""
        yield next(_of_value(name, parameter.annotation, parameter.default, doc, False, (), ()))


def _parts(typehint: Any) -> dict[str, str]:
    return offered_parts(typehint) if _kinds(typehint) else {}


def _kinds(typehint: Any) -> set[type]:
    """The classes of which subclasses may be named by their path."""
    if typehint is None:
        return set()
    found = get_class_types(typehint, closed_types=False)
    return {
        kind
        for kind in found
        if inspect.isclass(kind) and not kind.__module__.startswith("datetime")
    }


def _given_by_code(typehint: Any) -> int:
    """How many arguments the code gives that builds a part: those of the callable."""
    for option in _options(typehint):
        if get_origin(option) is Callable or "Callable" in str(get_origin(option)):
            return len(get_args(option)[0])
        if get_origin(option) is list:
            return _given_by_code(get_args(option)[0])
    return 0


def _options(typehint: Any) -> list[Any]:
    if get_origin(typehint) in (Union, UnionType):
        return [option for option in get_args(typehint) if option is not NoneType]
    return [typehint]


def _word(typehint: Any) -> tuple[str, list[str]]:
    """What to call a value, and the words among which it can be chosen."""
    words: list[str] = []
    choices: list[str] = []
    for option in _options(typehint):
        if get_origin(option) is Literal:
            choices += [str(word) for word in get_args(option)]
        elif option is bool:
            choices += ["true", "false"]
        elif option in WORDS:
            words.append(WORDS[option])
        elif (get_origin(option) or option) in (list, tuple, Sequence, Iterable):
            words.append("NAME" if _kinds(option) else "LIST")
        elif (get_origin(option) or option) in (dict, Mapping):
            words.append("{KEY: VALUE}")
        elif option is timedelta:
            words.append("{hours: N}")
        elif _kinds(option) or "Callable" in str(option):
            words.append("NAME")
    if choices and not words:
        return "{" + ",".join(choices) + "}", choices
    return "|".join(dict.fromkeys(words)), choices


def _default(value: Any) -> str:
    if value in (None, inspect.Parameter.empty, argparse.SUPPRESS):
        return ""
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(str, value))}]"
    if inspect.isfunction(value):
        return ""
    plain = isinstance(value, (str, int, float, Path, dict))
    return str(value) if plain else type(value).__name__


def _one_line(text: str) -> str:
    plain = re.sub(r"\s*\(default: [^)]*\)", "", text.replace("%%", "%").replace("`", ""))
    return " ".join(plain.split())
