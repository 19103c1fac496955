"""Run a job for a person at a terminal."""

import logging
import os
import sys
import warnings
from collections.abc import Callable

from blocklearn.errors import UserError

QUIET = (
    ".*does not have many workers",
    ".*smaller than the logging interval",
    # of ModelCheckpoint, whose state after a batch is meant
    ".*but no pre-optimization state was saved",
    ".*exists and is not empty",  # what resuming is
    ".*in eval mode at the start of training",  # what probing is
    r".*\.grad attribute of a Tensor that is not a leaf",  # which torch.compile looks at
    ".*LeafSpec.*is deprecated",  # Lightning 2.6 on torch 2.15
)
CHATTY = (  # by full name: Lightning sets the level of their parents when it is imported
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.fabric.utilities.distributed",
    "lightning.pytorch.trainer.connectors.signal_connector",
    "lightning_utilities.core.rank_zero",
)
ERROR_NAME = f"{UserError.__module__}.{UserError.__qualname__}: "


def guarded(job: Callable[[], object]) -> int:
    """Run `job` with little noise, and tell what the user can fix in one line. Returns the exit
    status."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    try:
        job()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        return 141  # 128 + SIGPIPE, as a shell has it
    except UserError as error:
        # From a loader process the error comes back wrapped in that process's traceback; its last
        # line is the message.
        print(
            f"blocklearn: error: {str(error).strip().splitlines()[-1].removeprefix(ERROR_NAME)}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _reader_left() -> bool:
    """Whether nobody reads our output any more, as behind `| head`; what is left of it is then
    dropped."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
