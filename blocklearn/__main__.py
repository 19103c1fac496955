"""Entry point: `blocklearn ...` and `python -m blocklearn ...`."""

import sys

from blocklearn import __version__


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    args = sys.argv[1:] if args is None else args
    if args in (["--version"], ["version"]):
        print(f"blocklearn {__version__}")
        return 0
    from blocklearn.cli import run

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
