"""`metrics.csv`: whole rows only, whatever becomes of the run, the disk, or the run before."""

import csv
import errno
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from blocklearn.errors import UserError
from blocklearn.reporting.plain_files import append_plain, read_plain, replace_plain

FILE = "metrics.csv"


class MetricsCSV(CSVLogger):
    """`FOLDER/metrics.csv`, one row a logged batch, on disk at once. A resumed run keeps the rows
    up to the batch that it goes on from.

    Raises:
        UserError: where the file cannot be written or is a symbolic link.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)
        self._started = False

    @property
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _WholeRows(self.log_dir)  # pyright: ignore[reportAttributeAccessIssue]
        return self._experiment

    @rank_zero_only
    def begin_at(self, step: int) -> None:
        """Drop the rows of batch `step` and later, which are those of a run that ended there and
        will be logged again. Without this the first batch that is logged decides."""
        self.experiment.keep_rows_before(step)
        self._started = True

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        if not self._started and step is not None:
            self.begin_at(step)
        super().log_metrics(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` holds them all."""


class _WholeRows(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        self.path = Path(log_dir) / FILE
        try:
            super().__init__(log_dir)
        except OSError as error:
            raise _cannot_write(self.path, 0, error) from error

    def _check_log_dir_exists(self) -> None:
        """Lightning's own would delete the file."""

    def keep_rows_before(self, step: int) -> None:
        content = self._read()
        self.metrics_keys, rows = whole_rows(content or b"")
        kept = [row for row in rows if int(row["step"]) < step]
        if content is not None and not kept:
            self._put_away(unreadable="step" not in self.metrics_keys)
        elif content is not None:
            self._replace(kept)

    def save(self) -> None:
        """Write what was logged since. It is forgotten even where that fails, since Lightning saves
        again at the end."""
        rows, self.metrics = self.metrics, []
        if not rows:
            return
        known = set(self.metrics_keys)
        self.metrics_keys = sorted(known.union(*rows))
        if set(self.metrics_keys) != known or not self.path.exists():
            rows = [*whole_rows(self._read() or b"")[1], *rows]
            self._replace(rows)
        else:
            self._append(rows)

    def _append(self, rows: list[dict[str, Any]]) -> None:
        self._write(append_plain, self._as_text(rows, header=False))

    def _replace(self, rows: list[dict[str, Any]]) -> None:
        self._write(replace_plain, self._as_text(rows, header=True))

    def _write(self, how: Callable[[Path, bytes], None], text: bytes) -> None:
        try:
            how(self.path, text)
        except OSError as error:
            raise _cannot_write(self.path, len(text), error) from error

    def _read(self) -> bytes | None:
        try:
            return read_plain(self.path)
        except OSError as error:
            raise _cannot_write(self.path, 0, error) from error

    def _put_away(self, unreadable: bool) -> None:
        """Nothing of it is kept; what is no table of metrics at all may be somebody's, and stays
        under another name."""
        self.metrics_keys = []
        try:
            if unreadable and self.path.stat().st_size:
                self.path.replace(self.path.with_name(f"{FILE}.damaged"))
            else:
                self.path.unlink()
        except OSError as error:
            raise _cannot_write(self.path, 0, error) from error

    def _as_text(self, rows: list[dict[str, Any]], header: bool) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.metrics_keys)
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()


def whole_rows(content: bytes) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a file whose writer may have been killed, or its machine: what is cut or
    damaged is left out."""
    lines = _table(content)
    header = next(lines, [])
    if "step" not in header:
        return [], []
    rows = [dict(zip(header, line, strict=True)) for line in lines if len(line) == len(header)]
    return header, [row for row in rows if row["step"].isdecimal()]


def _table(content: bytes) -> Iterator[list[str]]:
    for line in content.split(b"\n")[:-1]:  # what follows the last line's end was cut
        if b"\0" not in line and line.strip():
            yield from csv.reader([line.decode(errors="replace").rstrip("\r")])


def _cannot_write(path: Path, needed: int, error: OSError) -> UserError:
    if error.errno == errno.ELOOP:
        return UserError(
            f"{path} is a symbolic link, through which nothing is written; remove it, or choose "
            "another folder"
        )
    reason = error.strerror or str(error)
    room = f"; {needed:,} bytes are needed and {_free(path):,} are free" if needed else ""
    return UserError(f"cannot write {path}: {reason}{room}; every row before is kept")


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0
