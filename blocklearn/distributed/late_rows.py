"""One table of metrics from processes that are at different batches."""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = tuple[int, Mapping[str, float]]  # batch, and values by name


class LateRows:
    """Every process gives a row, or an empty one, at the same points of the run; the first process
    joins them and writes them in order, as soon as all are there.

    Args:
        store: of the run's processes.
        rank: of this process; 0 writes.
        ranks: those that give rows.
        write: gets a batch's number and the joined values.
        timeout_s: longest wait for a row.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        ranks: Sequence[int],
        write: Callable[[int, dict[str, float]], None],
        timeout_s: float = 120.0,
    ) -> None:
        self.store, self.rank, self.others = store, rank, [r for r in ranks if r != 0]
        self.write, self.timeout_s = write, timeout_s
        self._given = self._written = 0
        self._own: deque[Row] = deque()

    def give(self, step: int, values: Mapping[str, float]) -> None:
        """This process' next row."""
        if self.rank == 0:
            self._own.append((step, values))
            self.write_complete()
        elif self.rank in self.others:
            self.store.set(f"row/{self.rank}/{self._given}", json.dumps(dict(values)))
        self._given += 1

    def write_complete(self) -> None:
        """Write the rows that all processes have given."""
        while self._own and self.store.check(self._keys()):
            self._write_next()

    def finish(self) -> None:
        """Wait for the rows that are still to come.

        Raises:
            RuntimeError: where one does not come in time.
        """
        until = time.monotonic() + self.timeout_s
        while self._own:
            self.write_complete()
            if self._own and time.monotonic() > until:
                raise RuntimeError("gloo: timed out waiting for the metrics of another process")
            time.sleep(0.01 if self._own else 0)

    def _write_next(self) -> None:
        step, values = self._own.popleft()
        joined = dict(values)
        for key in self._keys():
            joined |= json.loads(self.store.get(key))
            self.store.delete_key(key)
        self._written += 1
        if joined:
            self.write(step, joined)

    def _keys(self) -> list[str]:
        return [f"row/{rank}/{self._written}" for rank in self.others]
