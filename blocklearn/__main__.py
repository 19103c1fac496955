"""Entry point: `blocklearn ...` and `python -m blocklearn ...`."""

import gc
import os
import sys
import threading
from importlib import import_module

if __name__ == "__main__" and sys.path and sys.path[0] in ("", os.getcwd()):
    # `python -m` puts the working folder first, and a file that lies there would take the place of
    # a library. Parts of
    # your own are found through PYTHONPATH, as by `blocklearn` itself.
    del sys.path[0]

from blocklearn import __version__
from blocklearn.cli.error_exit import guarded
from blocklearn.cli.help_command import ALL, as_question, page_for, part_asked
from blocklearn.cli.loading import loading
from blocklearn.cli.verbs import OTHER_VERBS, VERBS, no_verb, overview
from blocklearn.machine import end_with_parent

WAITING = ("blocklearn inbox", "blocklearn silent")  # threads of blocklearn.distributed


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 2 where the command line itself is wrong, 1 for other
    errors."""
    args = sys.argv[1:] if args is None else args
    # a connection that is lost is told by us in a line
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    end_with_parent()
    args = as_question(args)
    try:
        status = guarded(lambda: _run(args))
    except SystemExit as stop:
        _leave_at_once(stop.code)
        raise
    _leave_at_once(status)
    return status


def _leave_at_once(status: object) -> None:
    """Where a thread still waits for another process, as after an error: below Python, from where
    it would end this process with a complaint of its own."""
    if isinstance(status, int) and any(t.name in WAITING for t in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(args: list[str]) -> None:
    if not args:
        print(overview(), end="", file=sys.stderr)
        sys.exit(2)
    if args[0] in ("-h", "--help", ALL):
        print(overview(), end="")
    elif page := page_for(args):
        print(page, end="")
    elif args in (["--version"], ["version"]):
        print(f"blocklearn {__version__}")
    elif args[0] not in VERBS:
        print(f"blocklearn: error: {no_verb(args)}", file=sys.stderr)
        sys.exit(2)
    elif part_asked(args):
        from blocklearn.cli.part_help import show_part

        show_part(args)
    elif args[0] in OTHER_VERBS:
        module, name = OTHER_VERBS[args[0]].split(":")
        getattr(import_module(module), name)(args[1:])
    else:
        from blocklearn.cli.config_files import locate_configs

        command = locate_configs(args)
        with loading():  # until it is parsed
            _import_command_line()
            from blocklearn.cli.run_command import run_command

            run_command(command)


def _import_command_line() -> None:
    """With garbage collection off: importing makes millions of objects that all stay, and looking
    through them again and again takes a tenth of the time to the first training step."""
    gc.disable()
    try:
        import blocklearn.cli.run_command  # noqa: F401
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
