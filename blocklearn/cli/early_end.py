"""Whatever ends a command early is told in a line, with a status of its own."""

import signal
import sys
from collections.abc import Callable
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

from blocklearn.callbacks.stop_on_signal import Stopped
from blocklearn.distributed.launch import is_first_process
from blocklearn.distributed.lost import complain_of_lost_processes, started_by_first_process
from blocklearn.runs.run_folder import RunFolder


def run_and_explain(run: Callable[[], object], trainer: Any, verb: str, folder: RunFolder) -> None:
    """Carry out a verb.

    Raises:
        SystemExit: with the status of a signal that stopped it.
    """
    try:
        run()
    except Stopped as stop:
        if is_first_process():
            name = signal.Signals(stop.number).name
            told = how_to_go_on(trainer, verb, folder, stop.saved)
            print(f"blocklearn: stopped by {name}{told}", file=sys.stderr)
        # A process that rank 0 started must not look as if it had failed: its end would take rank 0
        # with it.
        loud = is_first_process() or not started_by_first_process(trainer)
        sys.exit(stop.status if loud else 0)
    except SystemExit as stop:  # Lightning leaves so, with status 0 or 1
        if not trainer.interrupted:
            raise
        if is_first_process():
            told = how_to_go_on(trainer, verb, folder)
            print(f"blocklearn: interrupted{told}", file=sys.stderr)
        sys.exit(143 if isinstance(stop, SIGTERMException) else 130)
    except Exception as error:
        complain_of_lost_processes(trainer, error)
        raise


def how_to_go_on(trainer: Any, verb: str, folder: RunFolder, saved: bool = False) -> str:
    """What is lost, and the command to go on with."""
    if verb != "fit":
        return f"; {verb} begins anew when it is asked for again"
    if not folder.last_checkpoint.exists():
        return " before the first checkpoint; a run has to begin anew"
    state = f" at batch {trainer.global_step}, its state is saved" if saved else ""
    return (
        f"{state}; to go on from {'there' if saved else 'the last checkpoint'}, repeat the "
        f"command with --trainer.default_root_dir {folder.path} --resume auto"
    )
