"""What `blocklearn help` and `--help` print. Nothing heavy is imported for it."""

import shutil
from collections.abc import Sequence

from blocklearn.cli.flags import HELP, read_flags
from blocklearn.cli.help_page import whole
from blocklearn.cli.recipes import list_recipes
from blocklearn.cli.verbs import TRAINER_VERBS

ALL = "--help=all"
ASKS = ("-h", "--help")
OTHER_PAGES = {"recipes": list_recipes}  # of `blocklearn help`, beside the verbs


def as_question(args: Sequence[str]) -> list[str]:
    """`help VERB` as `VERB --help`, and `help VERB --all` as `VERB --help=all`."""
    if list(args[:1]) != ["help"]:
        return list(args)
    words = [word for word in args[1:] if word not in ("--all", "help")]
    asked = ALL if "--all" in args else "--help"
    return [*words, asked] if not set(ASKS) & set(words) else words


def part_asked(args: Sequence[str]) -> tuple[str, str] | None:
    """Key and name of `--KEY.help NAME` or `--KEY.help`, where a verb of the Trainer has such."""
    for place, arg in enumerate(args):
        flag, equals, name = arg.partition("=")
        if args[0] in TRAINER_VERBS and flag.startswith("--") and flag.endswith(".help"):
            after = args[place + 1] if place + 1 < len(args) else ""
            key = flag.removeprefix("--").removesuffix(".help").removesuffix("+")
            return key, name if equals else "" if after.startswith("-") else after
    return None


def page_for(args: Sequence[str]) -> str | None:
    """The help that arguments ask for; None where they ask for none, or a verb has its own."""
    asked = next((arg for arg in args if arg in ASKS or arg == ALL), None)
    if asked is None or not args:
        return None
    if args[0] in OTHER_PAGES:
        return OTHER_PAGES[args[0]]()
    if args[0] not in TRAINER_VERBS:
        return None
    if asked == ALL:
        return whole(args[0], read_flags(args[0]), shutil.get_terminal_size((80, 24)).columns)
    return (HELP / f"{args[0]}.txt").read_text(encoding="utf-8")
