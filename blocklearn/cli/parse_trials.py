"""Put the command lines of many runs through the real parser before the first of them is run."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from blocklearn.ablation.search import Settings
from blocklearn.ablation.trials import Trial
from blocklearn.callbacks.save_run_config import written
from blocklearn.cli.app import BlocklearnCLI
from blocklearn.cli.config_files import locate_configs
from blocklearn.cli.parser import CommandParser
from blocklearn.cli.wrong_values import Asked
from blocklearn.distributed.launch import count_processes
from blocklearn.errors import UserError


class _Made(Exception):
    """Carries the parsers out of a command line that is not to be carried out."""

    def __init__(self, parser: Any, of_verb: Any) -> None:
        super().__init__()
        self.parser, self.of_verb = parser, of_verb


class _ParserOnly(BlocklearnCLI):
    def parse_arguments(self, parser: Any, args: Any) -> None:
        raise _Made(parser, self._parser(self.arguments[0]))


def _parsers(verb: str) -> _Made:
    """What a verb parses with, as a part of the whole and by itself; nothing is instantiated."""
    try:
        _ParserOnly([verb])
    except _Made as made:
        return made
    raise AssertionError("the command line asks for no parsing any more")


def parse_trials(trials: Sequence[Trial], where: str) -> Any:
    """Parse every trial's arguments; returns the configuration of the first.

    Args:
        trials: of one sweep.
        where: the sweep file, for messages.

    Raises:
        UserError: for arguments that `fit` does not take; it names the file and the parameter.
    """
    parser = _parsers("fit").parser
    first = None
    for trial in trials:
        config, complaint = _parse(parser, trial.arguments)
        if complaint:
            culprit = _culprit(parser, trial.arguments, trial.settings)
            raise UserError(f"{where}: {culprit}: {complaint}")
        first = first or config
    return first.fit if first else None


def require_test(text: str, words: Sequence[str], config: Any) -> None:
    """Parse how a run is to be tested.

    Args:
        text: as it was given, for the message.
        words: what follows the run's own configuration.
        config: of a run, as `parse_trials` returns it.

    Raises:
        UserError: for words that `test` does not take.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(written(_parsers("fit").of_verb, config))
        complaint = _parse(_parsers("test").parser, ["test", "--config", str(path), *words])[1]
    if complaint:
        raise UserError(f"ablate: --test {text!r}: {complaint}")


def _parse(parser: Any, arguments: Sequence[str]) -> tuple[Any, str]:
    """The configuration, or what the parser complains of."""
    told = io.StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(io.StringIO()):
            command = locate_configs(list(arguments))
            CommandParser.asked = Asked(command.args, command.by_hand)  # for what it complains of
            return parser.parse_args(command.args), ""
    except SystemExit:
        lines = told.getvalue().strip().splitlines() or ["it is refused"]
        return None, lines[-1].removeprefix("blocklearn: error: ")
    except UserError as error:
        return None, str(error)


def _culprit(parser: Any, arguments: Sequence[str], settings: Settings) -> str:
    """The parameter without which the rest is taken; else the command."""
    for name, value in settings.items():
        rest = _without(arguments, name, value)
        if not _parse(parser, rest)[1]:
            return f"parameters: {name}: {value}"
    if not _parse(parser, [w for n, v in settings.items() for w in _without(arguments, n, v)])[1]:
        return "parameters"
    return "command"


def _without(arguments: Sequence[str], name: str, value: Any) -> list[str]:
    kept = [word for word in arguments if word != f"--{name}={value}"]
    if f"--{name}" in kept:  # ${args_no_equals}
        at = kept.index(f"--{name}")
        kept[at : at + 2] = []
    return kept


def devices_there() -> int:
    """CUDA devices that this process sees."""
    return torch.cuda.device_count()


def devices_of(config: Any) -> int:
    """How many CUDA devices a run with this configuration takes; 0 for none.

    Args:
        config: as `parse_trials` returns it.
    """
    trainer: Mapping[str, Any] = config.trainer
    there = devices_there()
    if trainer["accelerator"] not in ("auto", "gpu", "cuda") or not there:
        return 0
    asked = trainer["devices"]
    return 1 if asked == "auto" else count_processes(trainer["accelerator"], asked, 1)
