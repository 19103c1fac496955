"""A folder in a cloud, of which files are fetched once and kept."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blocklearn.errors import UserError, in_one_line
from blocklearn.weights.atomic_write import cannot_write, require_room

SCHEMES = ("s3://", "gs://", "r2://", "azure://", "hf://", "local:")  # that litdata fetches from


def is_remote(root: str) -> bool:
    """Whether it names a folder in a cloud.

    Raises:
        UserError: for an address of a kind that cannot be fetched from.
    """
    if root.startswith(SCHEMES):
        return True
    if "://" in root:
        raise UserError(
            f"data: cannot fetch from {root}; --data.root is a folder, or begins with one of "
            f"{', '.join(SCHEMES[:-1])}"
        )
    return False


def require_litdata(what_for: str) -> Any:
    """The package litdata.

    Raises:
        UserError: where it is not installed.
    """
    try:
        import litdata
    except ImportError as error:
        raise UserError(
            f"{what_for} needs litdata ({error}); pip install 'blocklearn[streaming]'"
        ) from error
    return litdata


class RemoteFolder:
    """Fetches files of one folder. Every process may ask for the same file; it is fetched once, and
    nothing is there under its name before it is whole.

    Args:
        uri: of the folder, with one of `SCHEMES`.

    Raises:
        UserError: where litdata is not installed.
    """

    def __init__(self, uri: str) -> None:
        require_litdata(f"data: reading {uri}")
        self.uri = uri.rstrip("/")
        self._downloader: Any = None
        self._owner = 0  # the process that made it; connections do not outlive a fork

    def fetch(self, name: str, to: Path, size: int = 0, sha256: str | None = None) -> None:
        """Have the file at `to`, unless it is there.

        Args:
            name: in the folder, with `/` between its parts.
            to: where to keep it.
            size: in bytes, where it is known.
            sha256: of its content, where it is known.

        Raises:
            UserError: where it cannot be fetched or kept, or is not what was expected.
        """
        if to.is_file():
            return
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            with _alone(to.with_name(f".{to.name}.lock")):
                if not to.is_file():
                    require_room(to, size)
                    self._fetch_alone(name, to, size, sha256)
        except OSError as error:
            raise cannot_write(to, error.strerror or str(error), size) from error

    def _fetch_alone(self, name: str, to: Path, size: int, sha256: str | None) -> None:
        unfinished = to.with_name(f".{to.name}.{secrets.token_hex(8)}.unfinished")
        try:
            self._download(name, unfinished, size)
            if sha256 is not None and digest(unfinished) != sha256:
                raise UserError(
                    f"data: {self.uri}/{name} is damaged: its checksum is not that of the index; "
                    "upload it anew"
                )
            os.replace(unfinished, to)
        finally:
            for left in to.parent.glob(f"{unfinished.name}*"):
                with suppress(OSError):
                    left.unlink()

    def _download(self, name: str, to: Path, size: int) -> None:
        address = f"{self.uri}/{name}"
        try:
            self._get_downloader(name, size).download_file(address, str(to))
        except Exception as error:  # of every kind, by provider
            raise UserError(
                f"data: cannot fetch {address}: {in_one_line(error)}; check the address, the "
                "connection, and your rights to it"
            ) from error
        if not to.is_file():  # some failures are kept silent
            raise UserError(f"data: cannot fetch {address}; check the address and the connection")

    def _get_downloader(self, name: str, size: int) -> Any:
        if self._downloader is None or self._owner != os.getpid():
            from litdata.streaming.downloader import get_downloader

            self._downloader, self._owner = get_downloader(self.uri, "", [], {}), os.getpid()
        # by its size a chunk is fetched in one part or in several at a time
        self._downloader._chunks = [{"filename": name, "chunk_bytes": size}]
        return self._downloader

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_downloader": None}


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; where locks do not work each fetches for itself."""
    with path.open("wb") as file:
        with suppress(ImportError, OSError):
            import fcntl  # not on every system

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
