"""The flags of the Trainer's verbs as plain data, which the package carries: what help and
completion need of the parser, without building it. `help_text.py` writes the file."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

HELP = Path(__file__).parent / "help"  # a page a verb, and the flags of all
FLAGS = HELP / "flags.json"


@dataclass(frozen=True)
class Flag:
    """What there is to say of one flag.

    Attributes:
        name: without the dashes, `model.objective.criterion`.
        value: a word for what follows, `N`, `X`, `NAME`, `{true,false}`; empty where nothing does.
        text: what it means.
        default: as it would be written; empty where there is none, or it is null.
        choices: short names and words that can be given; others may be accepted.
        open: whether anything but `choices` is accepted.
        parts: whether a part can stand there, named by its class path.
        of: the parts that take it, where not every part of its place does.
        adds: whether `--NAME+=VALUE` adds to a list.
        nested: whether it is an argument of a part, and so not one of the parser.
    """

    name: str
    value: str = ""
    text: str = ""
    default: str = ""
    choices: list[str] = field(default_factory=list)
    open: bool = False
    parts: bool = False
    of: list[str] = field(default_factory=list)
    adds: bool = False
    nested: bool = False

    def as_plain(self) -> dict[str, Any]:
        """Without what is as it is by default."""
        defaults = asdict(Flag(""))
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


def to_text(flags: dict[str, dict[str, Flag]]) -> str:
    """JSON, a flag a line: what all verbs share once, then what each has besides."""
    first, *others = flags.values()
    shared = {n: flag for n, flag in first.items() if all(o.get(n) == flag for o in others)}
    parts = {"shared": shared} | {
        verb: {name: flag for name, flag in own.items() if shared.get(name) != flag}
        for verb, own in flags.items()
    }
    lines = [
        f"{json.dumps(part)}: [\n"
        + ",\n".join(json.dumps(flag.as_plain(), ensure_ascii=False) for flag in own.values())
        + "\n]"
        for part, own in parts.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_flags(verb: str) -> dict[str, Flag]:
    """The flags of one of the Trainer's verbs, by name."""
    known = {entry.name for entry in fields(Flag)}
    content = json.loads(FLAGS.read_text(encoding="utf-8"))
    plain = [*content["shared"], *content[verb]]
    return {one["name"]: Flag(**{k: v for k, v in one.items() if k in known}) for one in plain}
