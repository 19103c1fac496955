"""What a command line says, before any parser has read it."""

from collections.abc import Sequence


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """The value of a flag, `--FLAG VALUE` or `--FLAG=VALUE`: an empty text where it stands last
    without one, None where it is not given."""
    for position, word in enumerate(arguments):
        if word == flag:
            return arguments[position + 1] if position + 1 < len(arguments) else ""
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None
