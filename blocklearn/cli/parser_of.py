"""The parser of one of the Trainer's verbs, without a command."""

from typing import Any

from blocklearn.cli.app import BlocklearnCLI


def parser_of(verb: str) -> Any:
    """As LightningCLI builds it."""
    command = _OnlyTheParser.__new__(_OnlyTheParser)
    try:
        command.__init__([verb])
    except _Built:
        return command._parser(verb)
    raise AssertionError("LightningCLI asked for no arguments")


class _Built(Exception):
    """The parser is there."""


class _OnlyTheParser(BlocklearnCLI):
    def parse_arguments(self, parser: Any, args: Any) -> None:
        raise _Built
