"""Entry point: `blocklearn ...` and `python -m blocklearn ...`."""

import sys

from blocklearn import __version__


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    args = sys.argv[1:] if args is None else args
    if args in (["--version"], ["version"]):
        print(f"blocklearn {__version__}")
        return 0
    if args[:1] == ["demo"]:
        from blocklearn.cli import guarded
        from blocklearn.demo import run_demo

        return guarded(lambda: run_demo(args[1:]))
    from blocklearn.cli import run

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
