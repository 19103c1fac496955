"""The id of a run at W&B, kept in the run's folder so that a run that goes on is the same one
there."""

import re
import secrets
import string
from pathlib import Path

from blocklearn.reporting.plain_files import read_plain, replace_plain

PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
LETTERS = string.ascii_lowercase + string.digits


def kept_run_id(folder: Path) -> str | None:
    """The id of the run that lies in `folder`; None where there is none, or what is there is no
    such thing."""
    try:
        content = read_plain(_file(folder)) or b""
    except OSError:
        return None
    text = content[:100].decode(errors="replace").strip()
    return text if PATTERN.fullmatch(text) else None


def new_run_id() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(8))


def keep_run_id(folder: Path, run_id: str) -> None:
    """Write it down, in the place of any other.

    Raises:
        OSError: where the folder cannot be written.
    """
    replace_plain(_file(folder), f"{run_id}\n".encode())


def _file(folder: Path) -> Path:
    return folder / "wandb" / "run_id"
