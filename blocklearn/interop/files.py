"""Write files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocklearn.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well. After an error
    `path` is as it was.

    Raises:
        UserError: where the disk is full or the folder cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        kept = "; the one from before is untouched" if path.exists() else ""
        raise UserError(f"cannot write {path}: {str(error).splitlines()[0]}{kept}") from error
    finally:
        unfinished.unlink(missing_ok=True)
