"""Processes of `blocklearn` in folders of runs, several beside one another."""

import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from blocklearn.ablation.processes import Process, start
from blocklearn.ablation.trials import Trial

POLL = 0.1  # seconds between two looks at the processes
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)
)


class Work(Protocol):
    """What a pool asks for."""

    def following(self) -> Trial | None:
        """What is to be started next; None where there is nothing now. Asked again whenever a place
        is free."""

    def put_back(self, trial: Trial) -> None:
        """It could not be started, since another process holds its folder; it comes last."""

    def finish(self, process: Process) -> None:
        """Its process has ended."""


class Pool:
    """Carries out one command after another, as many at a time as there are places. A folder that
    another process holds is waited for.

    Args:
        places: for each of the processes beside one another, the variables of its environment.
        work: what is to be done.
        say: gets a line for every folder that is waited for.

    Attributes:
        received: numbers of the signals that came. After the first one nothing is started.
    """

    def __init__(
        self,
        places: Sequence[Mapping[str, str]],
        work: Work,
        say: Callable[[str], object],
    ) -> None:
        self.places, self.work, self.say = places, work, say
        self.received: list[int] = []
        self._held: list[Trial] = []
        self._running: list[Process] = []
        self._waited_for: set[Path] = set()

    def run(self) -> None:
        """Until nothing is left, or a signal comes: the processes that are under way are then asked
        to save their state and end; a second one kills them."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            while self._step():
                time.sleep(POLL)
        finally:
            for process in self._running:
                process.popen.kill()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _step(self) -> bool:
        """Look at the processes, and start others; returns whether anything is still to be done."""
        for process in [one for one in self._running if one.popen.poll() is not None]:
            self._running.remove(process)
            self.work.finish(process)
        if not self.received:
            self._fill()
        return bool(self._running or (not self.received and self._held))

    def _fill(self) -> None:
        for trial in self._held:
            self.work.put_back(trial)
        self._held.clear()
        taken = [process.place for process in self._running]
        free = deque(n for n in range(len(self.places)) if n not in taken)
        while free and (trial := self.work.following()) is not None:
            process = start(trial, free[0], self.places[free[0]])
            if process is None:
                self._wait_for(trial)
            else:
                self._running.append(process)
                free.popleft()

    def _wait_for(self, trial: Trial) -> None:
        self._held.append(trial)
        if trial.folder not in self._waited_for:
            self._waited_for.add(trial.folder)
            self.say(f"{trial.title}: another process runs it still; waiting until that has ended")

    def _note(self, number: int, frame: Any) -> None:
        self.received.append(number)
        for process in self._running:
            with suppress(ProcessLookupError):
                process.popen.send_signal(self._passed_on(number))

    def _passed_on(self, number: int) -> int:
        if len(self.received) > 1 and number != getattr(signal, "SIGUSR1", None):
            return signal.SIGKILL
        return number if number == getattr(signal, "SIGUSR1", None) else signal.SIGTERM
