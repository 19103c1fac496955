"""The help of the Trainer's verbs from their flags: a page with what is looked for, and the whole
list. Nothing heavy is imported for it."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from blocklearn.cli.flags import Flag
from blocklearn.cli.help_sections import EXAMPLES, SECTIONS
from blocklearn.cli.verbs import TRAINER_VERBS

WIDTH = 80
COLUMN = 28  # where what is said of a flag begins
AREAS = {  # of the whole list, by the first word of a flag's name
    "": "Run",
    "model": "Network, objective and optimization",
    "data": "Data and views",
    "trainer": "The Trainer: budget, devices, callbacks, loggers",
    "evaluation": "Evaluation",
    "probe": "How classifiers on features are trained",
    "wandb": "Weights & Biases",
}


def brief(verb: str, flags: Mapping[str, Flag]) -> str:
    """The page of `blocklearn VERB --help`: the flags of `SECTIONS`, and examples, within 80
    columns."""
    lines = [
        f"usage: blocklearn {verb} [--config NAME_OR_PATH] [--FLAG VALUE ...]",
        "",
        *textwrap.wrap(TRAINER_VERBS[verb], WIDTH),
    ]
    for title, names in SECTIONS[verb]:
        lines += ["", f"{title}:"]
        for name in names:
            lines += _entry(flags[name], first_sentence(flags[name].text), WIDTH)
    return "\n".join([*lines, "", *_ending(verb)]) + "\n"


def whole(verb: str, flags: Mapping[str, Flag], width: int) -> str:
    """The text of `blocklearn VERB --help=all`: every flag with all that is said of it.

    Args:
        verb: one of the Trainer's.
        flags: of it.
        width: of a line, in characters.
    """
    width = max(width, 60)
    lines = [
        f"usage: blocklearn {verb} [--config NAME_OR_PATH] [--FLAG VALUE ...]",
        "",
        *textwrap.wrap(TRAINER_VERBS[verb], width),
        "",
        *textwrap.wrap(
            "All flags. Behind a flag that names a part stand the arguments of the parts; (A, B) "
            "says whose they are. In a file they are init_args of the part.",
            width,
        ),
    ]
    for area, title in AREAS.items():
        lines += ["", f"{title}:"]
        for flag in flags.values():
            first, dot, _ = flag.name.partition(".")
            if area == (first if dot or first in AREAS else ""):
                lines += _entry(flag, flag.text, width)
    return "\n".join([*lines, "", *_where_next(verb)]) + "\n"


def arguments_page(title: str, text: str, flags: Iterable[Flag], width: int) -> str:
    """What one part is, and what it takes."""
    plain = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    paragraphs = [line for part in plain for line in (*textwrap.wrap(part, width), "")]
    entries = [line for flag in flags for line in _entry(flag, flag.text, width)]
    return (
        "\n".join(
            [
                *textwrap.wrap(title, width),
                "",
                *paragraphs,
                *(entries or ["It takes no arguments."]),
            ]
        )
        + "\n"
    )


def first_sentence(text: str) -> str:
    """Up to the first stop or semicolon outside of brackets."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and re.match(r"[.;] |[.;]$", text[position : position + 2]):
            return text[:position]
    return text


def _entry(flag: Flag, said: str, width: int) -> Iterator[str]:
    head = f"  --{flag.name}{'+=' if _listed(flag) else ' '}{_value(flag)}".rstrip()
    alone = len(head) > width - 20 or not said
    yield from [head] if alone else []
    yield from textwrap.wrap(
        _said(flag, said),
        width,
        initial_indent=" " * COLUMN if alone else f"{head:<{COLUMN - 2}}  ",
        subsequent_indent=" " * COLUMN,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _listed(flag: Flag) -> bool:
    """Whether parts are added to it one by one."""
    return flag.adds and bool(flag.choices) and flag.value == "NAME"


def _value(flag: Flag) -> str:
    """A word for it; of true and false the one that is not the default, and the only word as it
    is."""
    if set(flag.choices) == {"true", "false"} and not flag.open:
        return "false" if flag.default == "true" else "true"
    if len(flag.choices) == 1 and not flag.open:
        return flag.choices[0]
    return flag.value if len(flag.value) <= 40 else "NAME"


def _said(flag: Flag, text: str) -> str:
    """Whose it is, what it is, what there is to choose from, the default."""
    whose = f"({', '.join(flag.of[:4])}{', ...' if len(flag.of) > 4 else ''}) " if flag.of else ""
    named = [name for name in flag.choices if name not in ("true", "false")]
    shown = "{" in flag.value or all(name in re.findall(r"[\w-]+", text) for name in named)
    listed = f": {', '.join(named)}" if len(named) > 1 and not shown else ""
    stated = flag.default and flag.default not in ("{}", "true", "false")
    return f"{whose}{text.rstrip('.;')}{listed}{f' (default {flag.default})' if stated else ''}"


def _ending(verb: str) -> list[str]:
    lines = ["Examples:"]
    for what, command in EXAMPLES[verb]:
        lines += [f"  # {what}"] if what else []
        lines += [f"  {line}" for line in command.splitlines()]
    return [*lines, "", *_more(verb)]


def _more(verb: str) -> list[str]:
    return [
        "Names behind a colon are short for a part; a class path, my_parts.MyPart, does",
        "too. Of true and false the one that changes something is shown.",
        f"{f'blocklearn {verb} --model.objective.help NAME':<46} what a part takes",
        f"{f'blocklearn {verb} --help=all':<46} every flag",
        f"{f'blocklearn {verb} --config FILE --print_config':<46} every setting",
        f"{'blocklearn help recipes':<46} what --config finds by name",
    ]


def _where_next(verb: str) -> list[str]:
    return [f"blocklearn {verb} --help is the page of what is looked for most."]
