"""The parser of the command line: what it takes from jsonargparse otherwise, and how it
complains."""

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml
from jsonargparse import Namespace, _typehints, set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser
from lightning_utilities.core.enums import StrEnum

from blocklearn.cli.wrong_names import explain_name
from blocklearn.cli.wrong_values import Asked, broken_part, explain
from blocklearn.runs.received import refusal_of

WORDY = (  # as jsonargparse says that none of several types fits
    (r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: - ", ""),
    (r" Given value type: .*? Given value: ", ". Got value: "),
    (r"<class '([^']*)'>|typing\.", r"\1"),
)
DENIED = re.compile(r"Importing '([\w.]+)' is not allowed")
TRIED = tuple(f"- {words}" for words in ("Expected", "Does not validate", "Not a valid subclass"))


def forget_defaults_of_exchanged_classes() -> None:
    """Where a class is exchanged for another, jsonargparse keeps those arguments that the new one
    takes too, defaults included: `--data.recipe SmallImageViews` would crop as the recipe before
    it. Afterwards what was set stays, and what was only a default gives way to the new class's own.
    There is no public setting for it."""
    keep = _typehints.discard_init_args_on_class_path_change

    def keep_what_was_set(parser_or_action: Any, before: Any, value: Any) -> None:
        if (
            before
            and before["class_path"]
            and before.get("init_args")
            and before["class_path"] != value["class_path"]
        ):
            extra = getattr(parser_or_action, "sub_add_kwargs", {})
            defaults = _typehints.ActionTypeHint.get_class_parser(
                before["class_path"], extra
            ).get_defaults()
            # a part within the part stays or goes as a whole
            for name in list(vars(before["init_args"])):
                if name in defaults and _plain(defaults[name]) == _plain(before["init_args"][name]):
                    before["init_args"].pop(name)
        keep(parser_or_action, before, value)

    _typehints.discard_init_args_on_class_path_change = keep_what_was_set


def write_names_of_enums() -> None:
    """A default that is a text with a name, as `interval` of Lightning's Timer, is written as that
    text."""
    yaml.SafeDumper.add_multi_representer(
        StrEnum, lambda dumper, value: dumper.represent_str(str(value.value))
    )


def _plain(value: Any) -> Any:
    value = value.as_dict() if isinstance(value, Namespace) else value
    return list(value) if isinstance(value, tuple) else value


class CommandParser(LightningArgumentParser):
    """Complains in one line (`wrong_names.py`, `wrong_values.py`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    received: ClassVar[Path | None] = (
        None  # the configuration that came with the checkpoint of this command
    )
    asked: ClassVar[Asked | None] = None  # the command itself

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        told = " ".join(str(message).split())
        denied = DENIED.search(told)
        if denied and self.received:
            told = refusal_of(self.received, denied[1])
        if self.asked and not denied:
            told = (
                explain_name(told, self.asked)
                or explain(told, self.asked)
                or broken_part(self.asked)
                or told
            )
        for pattern, plain in WORDY:
            told = re.sub(pattern, plain, told)
        print(f"blocklearn: error: {told}", file=sys.stderr)
        sys.exit(2)


def first_reason(message: str) -> str:
    """In one line, what a class itself complained of when jsonargparse built it: the first entry of
    a list of all that was tried, with the line below it where the entry only announces it by a
    colon. The whole message where there is none."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for position, line in enumerate(lines):
        if line.startswith("- ") and not line.startswith(TRIED):
            until = next(
                (end for end in range(position, len(lines)) if not lines[end].endswith(":")),
                position,
            )
            return " ".join(part.removeprefix("- ") for part in lines[position : until + 1])
    return message


@cache
def prepare_parsing() -> None:
    """Set up jsonargparse for this process; to be called when a command line starts. Two private
    functions of it are replaced, so its version is bounded in pyproject.toml."""
    set_parsing_settings(instantiate_subclass_spec_in_any=False)  # `backbone_kwargs` are plain data
    forget_defaults_of_exchanged_classes()
    write_names_of_enums()
