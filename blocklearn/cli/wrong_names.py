"""A flag or key that there is not: what may have been meant, in its own place first."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from blocklearn.cli.flags import Flag
from blocklearn.cli.wrong_values import Asked
from blocklearn.runs.received import values_of

UNKNOWN = re.compile(
    r"unrecognized arguments: (\S+)|(?:[Oo]ption|does not accept option) '([\w.]+)'"
)
SAME = {  # what other programs call it
    "batchsize": "batch_size",
    "epochs": "max_epochs",
    "gpus": "devices",
    "learning_rate": "lr",
    "output_dir": "default_root_dir",
    "seed": "seed_everything",
    "wd": "weight_decay",
    "workers": "num_workers",
}


def explain_name(message: str, asked: Asked) -> str | None:
    """A message of the parser about a name, said plainly; None where it is about none.

    Args:
        message: in one line.
        asked: what was asked for.
    """
    needed = re.search(r"arguments are required: (.*)$", message)
    if needed:
        return _needed(needed[1].split(", ")[0], asked)
    found = UNKNOWN.search(message)
    if not found:
        return None
    if found[2]:
        return _no_argument_of_the_part(found[2], asked)
    word = found[1].partition("=")[0]
    if not word.startswith("--"):
        return (
            f"{word} is no flag, and stands behind none; settings are written --NAME VALUE: "
            f"blocklearn {asked.args[0]} --help"
        )
    near = near_flags(word.removeprefix("--"), asked.flags)
    meant = " or ".join(f"--{name}" for name in near)
    every = f"blocklearn {asked.args[0]} --help=all lists them"
    return f"there is no {word}; {f'did you mean {meant}?' if near else every}"


def _needed(key: str, asked: Asked) -> str:
    name = key.removeprefix(f"{asked.args[0]}.")
    flag = asked.flags.get(name)
    if flag is None:
        return f"{name} is needed, and is not given; where a part takes it, --PART.{name} VALUE"
    return f"--{name} is needed: --{name} {flag.value}, {flag.text.partition(';')[0]}"


def _no_argument_of_the_part(key: str, asked: Asked) -> str:
    """The part at hand does not take it: another may, or its name is nearly right."""
    last = key.rpartition(".")[2]
    if last in ("class_path", "init_args"):
        return (
            "beside class_path there is only init_args, under which the arguments of a part stand"
        )
    where, name = _where(key, asked)
    place = name.rpartition(".")[0]
    start = f"{where}{place}: " if place else where
    if last == "target":
        return f"{start}this data set has one labelling only, no targets to choose from"
    flags = [flag for flag in asked.flags.values() if flag.name.endswith(f".{last}")]
    others = next((flag.of for flag in flags if flag.of and flag.name.startswith(place)), [])
    if others:
        more = " and others" if len(others) > 3 else ""
        return f"{start}{last} is not accepted here; it is for {', '.join(others[:3])}{more}"
    near = _near(last, _neighbours(place, asked.flags))
    return f"{start}{last} is not accepted" + (f"; did you mean {near[0]}?" if near else "")


def _where(key: str, asked: Asked) -> tuple[str, str]:
    """The file in which a key stands, and its whole name; empty and as it is where it is told by
    a flag."""
    given = [name for name in asked.given if name == key or name.endswith(f".{key}")]
    for path in [] if given else asked.files:
        for whole, _ in values_of(path):
            plain = re.sub(r"\.init_args|\[\d+\]", "", whole)
            before, found, _ = f".{plain}.".partition(f".{key}.")
            if found:
                return f"config: {path}: ", f"{before}.{key}".strip(".")
    return "", given[0] if given else key


def _neighbours(place: str, flags: Mapping[str, Flag]) -> list[str]:
    """The last words of the flags at a place; of all nested ones where it is not known."""
    beside = [name for name in flags if name.rpartition(".")[0] == place]
    chosen = beside if place and beside else [name for name in flags if "." in name]
    settings = ["lr_factor", "loss_weight", "stop_epoch", "projector", "init_args", "class_path"]
    return [name.rpartition(".")[2] for name in chosen] + ([] if place else settings)


def near_flags(wrong: str, flags: Mapping[str, Flag]) -> list[str]:
    """At most three flags that may have been meant."""
    last = SAME.get(wrong.rpartition(".")[2], wrong.rpartition(".")[2])
    head = wrong.rpartition(".")[0]
    same_end = [name for name in flags if name.rpartition(".")[2] == last]
    if not head:
        usual = [name for name in same_end if not name.startswith("trainer.callbacks.")]
        if usual:
            return sorted(usual, key=_how_unusual)[:3]
    near = get_close_matches(wrong, flags, n=1, cutoff=0.75)
    if not head and not near:
        ends = {name.rpartition(".")[2]: name for name in reversed(list(flags))}
        near = [ends[end] for end in get_close_matches(last, ends, n=1, cutoff=0.75)]
    return near or get_close_matches(wrong, flags, n=1, cutoff=0.6)


def _how_unusual(name: str) -> tuple[bool, int]:
    return name.startswith(("probe.", "evaluation.")), name.count(".")


def _near(wrong: str, known: Sequence[str]) -> list[str]:
    if SAME.get(wrong) in known:
        return [SAME[wrong]]
    return get_close_matches(wrong, sorted(set(known)), n=1, cutoff=0.6)
