"""Entry point: `blocklearn ...` and `python -m blocklearn ...`."""

import sys

from blocklearn import __version__
from blocklearn.guard import guarded


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    args = sys.argv[1:] if args is None else args
    if args in (["--version"], ["version"]):
        print(f"blocklearn {__version__}")
        return 0
    return guarded(lambda: _run(args))


def _run(args: list[str]) -> None:
    if args[:1] == ["demo"]:
        from blocklearn.demo import run_demo

        run_demo(args[1:])
    elif args[:1] == ["export"]:
        from blocklearn.export_command import run_export

        run_export(args[1:])
    elif args[:1] == ["compare"]:
        from blocklearn.compare_command import run_compare

        run_compare(args[1:])
    else:
        from blocklearn.arguments import locate_configs
        from blocklearn.cli import BlocklearnCLI

        BlocklearnCLI(locate_configs(args))


if __name__ == "__main__":
    sys.exit(main())
