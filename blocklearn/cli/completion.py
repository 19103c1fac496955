"""`blocklearn completion bash`: a script for the shell, by shtab. It is made from the list of flags
that the package carries, so that neither making it nor a tab imports torch."""

import argparse
import contextlib
import io
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from blocklearn.cli.flags import Flag, read_flags
from blocklearn.cli.verbs import OTHER_VERBS, TRAINER_VERBS, VERBS
from blocklearn.errors import UserError
from blocklearn.runs.run_folder import shipped_configs

SHELLS = ("bash", "zsh")
FILES = ("FILE", "NAME_OR_PATH", "PATH")


def run_completion(args: list[str]) -> None:
    """Print the script."""
    parser = argparse.ArgumentParser(
        prog="blocklearn completion",
        description="Print a script that lets the tab key complete verbs, flags and short names.",
        epilog="bash: blocklearn completion bash > "
        "~/.local/share/bash-completion/completions/blocklearn, and open a new shell. zsh: "
        "blocklearn completion zsh > FOLDER/_blocklearn, FOLDER one of $fpath.",
    )
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    print(script(parser.parse_args(args).shell))


def script(shell: str) -> str:
    """
    Raises:
        UserError: where shtab is not installed.
    """
    if find_spec("shtab") is None:
        raise UserError("completion: shtab writes it, and is not installed: pip install shtab")
    import shtab  # pyright: ignore[reportMissingImports]

    return shtab.complete(_parser(shtab), shell)


def _parser(shtab: Any) -> argparse.ArgumentParser:
    """All verbs with their flags, for shtab alone; values are not checked by it."""
    parser = argparse.ArgumentParser(prog="blocklearn")
    verbs = parser.add_subparsers(dest="verb")
    for verb, text in VERBS.items():
        own = verbs.add_parser(verb, help=text.partition(". ")[0])
        if verb in TRAINER_VERBS:
            for flag in read_flags(verb).values():
                _add(own, flag, shtab)
        elif verb == "completion":
            own.add_argument("shell", choices=SHELLS)
        else:
            for name in _flags_of_other(verb):
                own.add_argument(name)
            own.add_argument("paths", nargs="*").complete = shtab.FILE  # pyright: ignore
    asked = verbs.add_parser("help", help="what a verb takes")
    asked.add_argument("verb", choices=[*VERBS, "recipes"])
    return parser


def _flags_of_other(verb: str) -> list[str]:
    """As the verb's own help has them."""
    module, name = OTHER_VERBS[verb].split(":")
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        getattr(import_module(module), name)(["--help"])
    found = re.findall(r"^  (?:-\w(?: \w+)?, )?(--\w+)", page.getvalue(), re.MULTILINE)
    return [flag for flag in found if flag != "--help"]


def _add(parser: argparse.ArgumentParser, flag: Flag, shtab: Any) -> None:
    names = [f"--{flag.name}", *([f"--{flag.name}+"] if flag.adds else [])]
    if flag.name == "config":
        recipes = sorted(path.name for path in shipped_configs().glob("*.yaml"))
        parser.add_argument("-c", *names, choices=recipes, help=_said(flag))
        return
    action = parser.add_argument(*names, choices=flag.choices or None, help=_said(flag))
    if not flag.choices and flag.value in FILES:
        action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    if flag.value == "DIR":
        action.complete = shtab.DIRECTORY  # pyright: ignore[reportAttributeAccessIssue]


def _said(flag: Flag) -> str:
    return flag.text.partition(";")[0].partition(". ")[0].replace("%", "%%")
