"""What the parser complains of, in a line for a person: which key, what it got, what it takes."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from blocklearn.cli.class_paths import LIBRARIES, why_not
from blocklearn.cli.flags import Flag, read_flags
from blocklearn.runs.received import values_of, where_named

MOST_NAMES = 14  # that a message lists
KEY = re.compile(r'Parser key "([^"]+)":')
GOT = re.compile(r"(?:Got|Given) value: (.*)$")
CLASS_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
NAMES = re.compile(r"class_path['\"]?[:=] ?['\"]([\w.]+)['\"]")
LOOKED_UP = re.compile(r"dot import path string: ([^\s']+)")
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "collections.abc.Iterable": "a list",
    "dict": "settings as {KEY: VALUE}",
    "NoneType": "null",
}
WORD = re.compile(r"Expected an? (?:<class ')?(?:typing\.)?(Literal\[[^\]]*\]|[\w.]*\w)")


class Asked(NamedTuple):
    """A command line, as far as complaints need it.

    Attributes:
        args: verb first.
        files: configurations that it names.
    """

    args: Sequence[str]
    files: Sequence[Path] = ()

    @property
    def flags(self) -> dict[str, Flag]:
        return read_flags(self.args[0])

    @property
    def given(self) -> list[str]:
        """The names of its flags."""
        words = (arg.partition("=")[0] for arg in self.args if arg.startswith("--"))
        return [word.removeprefix("--").removesuffix("+") for word in words]


def explain(message: str, asked: Asked) -> str | None:
    """A message of the parser about a value, said plainly; None where it is about no value.

    Args:
        message: in one line.
        asked: what was asked for.
    """
    missing = re.search(r"argument (?:-\w/)?--(\S+?):? expected one argument", message)
    if missing:
        return _no_value(missing[1], asked)
    unread = re.search(r"Unable to load config ['\"](.*?)['\"]", message)
    keys = KEY.findall(message)
    if not keys:
        return None
    if unread and keys[-1] in ("model", "trainer", "data", "probe", "wandb"):
        return (
            f"--{keys[-1]} takes a file with that section, and there is no file {unread[1]}; "
            f"single settings are --{keys[-1]}.NAME VALUE: blocklearn {asked.args[0]} --help"
        )
    said = message[message.rindex(f'"{keys[-1]}":') :]
    value = _value(said)
    name, where = _place(keys[-1], value, asked)
    flag = _flag(name, asked.flags)
    reason = _about_part(said, value, flag) or _about_value(said, value, flag)
    return f"{where}{name}: {reason}" if reason else None


def _value(said: str) -> str:
    looked_up, got = LOOKED_UP.search(said), GOT.search(said)
    named = NAMES.search(got[1]) if got else None
    if named or not got:
        return named[1] if named else looked_up[1] if looked_up else ""
    return got[1].partition(" Subclass types expect")[0].strip()


def _place(key: str, value: str, asked: Asked) -> tuple[str, str]:
    """The whole name of a key, of which a part within a part knows the end only, and the file it
    stands in."""
    ends = [name for name in asked.given if name == key or name.endswith(f".{key}")]
    if ends:
        return ends[-1], ""
    for path in asked.files:
        inside = where_named(path, value) if value else ""
        if inside and key.rpartition(".")[2] in inside:
            name = re.sub(r"\.init_args|\.class_path$|\[\d+\]", "", inside)
            return name, f"config: {path}: "
    return key, ""


def _flag(name: str, flags: Mapping[str, Flag]) -> Flag | None:
    if name in flags:
        return flags[name]
    ends = [flag for known, flag in flags.items() if known.endswith(f".{name}")]
    return ends[0] if len({tuple(flag.choices) for flag in ends}) == 1 else None


def _about_part(said: str, value: str, flag: Flag | None) -> str | None:
    """Where a part is named: what is wrong with the name."""
    is_name = re.fullmatch(r"[A-Za-z_][\w.-]*", value)
    if not flag or not flag.parts:
        return None
    if "class_p" in value and not is_name and not NAMES.search(value):
        return f"a part is named by class_path, its arguments by init_args; got {value}"
    if not is_name or value in flag.choices:
        return None
    if "." not in value:
        return _not_among(value, flag)
    wrong = why_not(value)
    if wrong:
        return wrong
    base = re.search(r"(?:to be|correspond to) a subclass of (?:<class ')?([\w.]*\w)", said)
    if base:
        return f"{value} is no {base[1].rpartition('.')[2]}; {_listed(flag, value)}"
    abstract = re.search(r"but ([\w.]+) is abstract", said)
    return f"{value} leaves methods of its base open" if abstract else None


def _not_among(value: str, flag: Flag) -> str:
    near = nearest(value, flag.choices)
    guess = f"did you mean {near}? " if near else ""
    return f"there is no {value}; {guess}{_listed(flag, value, bool(near))}"


def _listed(flag: Flag, value: str, begins: bool = False) -> str:
    """All that there is, the nearest first; of many, the first of them."""
    near = nearest(value, flag.choices)
    names = [name for name in flag.choices if name not in ("true", "false", near)]
    shown = [*([near] if near else []), *names]
    if len(shown) > MOST_NAMES:
        more = f"{len(shown) - MOST_NAMES} more (--help)"
        shown = [*shown[:MOST_NAMES], more]
    verb = "There is" if begins else "there is"
    return f"{verb} {', '.join([*shown, 'or a class path'])}"


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `word` may have meant, upper and lower case alike."""
    lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    inside = [name for name in known if len(word) > 3 and word.lower() in name.lower()]
    return lower[near[0]] if near else inside[0] if inside else None


def _about_value(said: str, value: str, flag: Flag | None) -> str | None:
    kinds = [_kind(word) for word in WORD.findall(said)]
    wanted = list(dict.fromkeys(kind for kind in kinds if kind))
    if flag and flag.value.startswith("{") and not flag.choices:
        wanted = [flag.value, *(["null"] if "null" in wanted else [])]
    words = [word for word in flag.choices if word not in ("true", "false")] if flag else []
    if flag and words and flag.open:
        others = [] if flag.value == "NAME" else [kind for kind in wanted if "one of" not in kind]
        wanted = [_one_of(words), *others]
    if "Not a valid subclass of BlockSettings" in said:
        wanted = ["for every block {KEY: VALUE}"]
    if not wanted:
        return None
    near = nearest(value, flag.choices) if flag and flag.choices else None
    return f"should be {' or '.join(wanted)}, got {value or 'nothing'}" + (
        f"; did you mean {near}?" if near else ""
    )


def _kind(word: str) -> str | None:
    if word.startswith("Literal"):
        return _one_of(re.findall(r"'([^']*)'|(\d+)", word))
    return KINDS.get(word)


def _one_of(words: Sequence[Any]) -> str:
    plain = ["".join(word) if isinstance(word, tuple) else word for word in words]
    return f"one of {', '.join(plain)}" if len(plain) > 1 else plain[0]


def broken_part(asked: Asked) -> str | None:
    """What went wrong where a module that the user named was imported; None where all can be."""
    written = zip(asked.args, [*asked.args[1:], ""], strict=True)
    pairs = [(arg.partition("=")[0], arg.partition("=")[2] or after) for arg, after in written]
    for path in asked.files:
        pairs += [(f"config: {path}: {key}", str(value)) for key, value in values_of(path)]
    for name, value in pairs:
        if CLASS_PATH.fullmatch(value) and value.partition(".")[0] not in LIBRARIES:
            wrong = why_not(value)
            if wrong and wrong.startswith("cannot import"):
                return f"{name.removeprefix('--')}: {wrong}"
    return None


def _no_value(name: str, asked: Asked) -> str:
    """An argument of a part is told by the parser as the part's own."""
    begun = [one for one in asked.given if one == name or one.startswith(f"{name}.")]
    full = next((one for one in begun if _ends_without_value(one, asked.args)), name)
    flag = asked.flags.get(full)
    value = flag.value if flag else "VALUE"
    choices = f": {', '.join(flag.choices)}" if flag and flag.choices else ""
    return f"--{full} needs a value: --{full} {value}{choices if '{' not in value else ''}"


def _ends_without_value(name: str, args: Sequence[str]) -> bool:
    places = [place for place, arg in enumerate(args) if arg == f"--{name}"]
    return any(place + 1 == len(args) or args[place + 1].startswith("--") for place in places)
