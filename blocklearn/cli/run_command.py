"""Carry out a verb of the Trainer, with no more trust in a received configuration than it
deserves."""

from jsonargparse._common import ImportDenied

from blocklearn.cli.app import BlocklearnCLI
from blocklearn.cli.config_files import Command
from blocklearn.cli.parser import DENIED, CommandParser
from blocklearn.cli.wrong_values import Asked
from blocklearn.distributed.launch import is_first_process
from blocklearn.errors import UserError
from blocklearn.reporting.wandb_trial import record_failed_trial
from blocklearn.runs.received import importing_only, named_by_hand, refusal_of
from blocklearn.runs.run_folder import drop_what_is_empty


def run_command(command: Command) -> None:
    """Carry out a verb of the Trainer; a W&B sweep is told also of what is refused."""
    try:
        _carry_out(command)
    except (UserError, SystemExit) as error:
        if is_first_process() and (isinstance(error, UserError) or error.code == 2):
            record_failed_trial(command.args)
        raise
    finally:
        drop_what_is_empty()


def _carry_out(command: Command) -> None:
    """A configuration that came with a checkpoint names only what `importing_only` lets
    it, unless `--trust_config true` says otherwise.

    Raises:
        UserError: naming key and class of what it may not name.
    """
    CommandParser.received = command.received
    CommandParser.asked = Asked(command.args, command.by_hand)
    received = command.received
    if received is None or command.trusted:
        BlocklearnCLI(command.args)
        return
    with importing_only(named_by_hand(command.args[2:], command.by_hand)):
        try:
            BlocklearnCLI(command.args)
        except ImportDenied as error:
            found = DENIED.search(str(error))
            raise UserError(refusal_of(received, found[1] if found else str(error))) from error
