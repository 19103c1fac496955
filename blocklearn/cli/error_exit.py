"""Run a job for a person at a terminal."""

import os
import sys
from collections.abc import Callable

from blocklearn.errors import UserError
from blocklearn.runs.little_noise import be_quiet

ERROR_NAME = f"{UserError.__module__}.{UserError.__qualname__}: "


def guarded(job: Callable[[], object]) -> int:
    """Run `job` with little noise, and tell what the user can fix in one line. Returns the exit
    status."""
    be_quiet()
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
