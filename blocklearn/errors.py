"""The one error that is meant for the user's eyes."""

import os
from pathlib import Path


class UserError(ValueError):
    """What is wrong, where, and what to do about it; the command line prints it as one line,
    without a traceback."""


class UnreadableSample(UserError):
    """A sample whose file cannot be read; the loaders let another sample stand in for it. Raise it
    in a data set's `__getitem__`, or in a view of a sample that is read late.

    Args:
        file: that cannot be read.
        reason: why; of several lines the first is kept.
        kind: what the file should be, for the message.
    """

    def __init__(self, file: str | os.PathLike[str], reason: object, kind: str = "sample") -> None:
        self.file, self.kind = Path(file), kind
        self.reason = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        super().__init__(f"data: {self.told}; mend, fetch anew or remove it")

    @property
    def told(self) -> str:
        """Which file, and why, without what to do about it."""
        return f"cannot read the {self.kind} {in_one_line(self.file)}: {in_one_line(self.reason)}"

    def __reduce__(self) -> tuple[type, tuple[Path, str, str]]:
        return type(self), (self.file, self.reason, self.kind)


def in_one_line(value: object) -> str:
    """Text that any terminal and file can take: file names may hold line breaks, and bytes that are
    no characters."""
    return "\\n".join(str(value).encode("utf-8", "backslashreplace").decode().splitlines())
