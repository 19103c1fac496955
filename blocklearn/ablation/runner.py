"""Run the trials of a sweep on this machine, several beside one another."""

import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

from blocklearn.ablation.outcome import Outcome, last_words, outcome_of
from blocklearn.ablation.processes import Process, start
from blocklearn.ablation.search import Search, Settings
from blocklearn.ablation.sweep_file import Metric
from blocklearn.ablation.trials import Trial, TrialMaker

POLL = 0.1  # seconds between two looks at the processes
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)
)


class Runner:
    """Runs what a search asks for, and leaves out what was run before.

    Args:
        search: gives the settings.
        maker: of the trials.
        metric: that the search is told.
        places: for each of the runs beside one another, the variables of its environment.
        say: gets a line for every trial that ended.

    Attributes:
        ended: every trial that has come to its end or failed, in the order of the search, and its
            outcome; None where it failed.
        received: numbers of the signals that came.
    """

    def __init__(
        self,
        search: Search,
        maker: TrialMaker,
        metric: Metric,
        places: Sequence[Mapping[str, str]],
        say: Callable[[str], object] = print,
    ) -> None:
        self.search, self.maker, self.metric = search, maker, metric
        self.places, self.say = places, say
        self.ended: list[tuple[Trial, Outcome | None]] = []
        self.received: list[int] = []
        self._queue: deque[Trial] = deque()
        self._busy: deque[Trial] = deque()
        self._running: list[Process] = []
        self._asked: dict[str, Settings] = {}
        self._seconds: list[float] = []
        self._waited_for: set[Path] = set()

    @property
    def count(self) -> int:
        """Of all trials."""
        return self.search.count * len(self.maker.seeds or [None])

    def run(self) -> None:
        """Until nothing is left, or a signal comes: the runs that are under way then save their
        state and end; a second one kills them."""
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
            self._end(process)
        if not self.received:
            self._fill()
        return bool(self._running or (not self.received and (self._queue or self._busy)))

    def _fill(self) -> None:
        for _ in range(len(self._busy)):  # those that another process had
            self._queue.append(self._busy.popleft())
        free = [n for n in range(len(self.places)) if n not in [p.place for p in self._running]]
        while free and (trial := self._next()) is not None:
            trial.record()
            process = start(trial, free[0], self.places[free[0]])
            if process is None:
                self._wait_for(trial)
            else:
                self._running.append(process)
                free.pop(0)

    def _next(self) -> Trial | None:
        """One that has not been run."""
        while True:
            if not self._queue:
                settings = self.search.ask()
                if settings is None:
                    return None
                trials = self.maker.of(settings)
                self._queue.extend(trials)
                self._asked[trials[0].name] = settings
            trial = self._queue.popleft()
            outcome = outcome_of(trial)
            if outcome is None:
                return trial
            self._note_end(trial, outcome)
            self.say(f"{self._head(trial)}{self._figure(outcome)}, done before")

    def _wait_for(self, trial: Trial) -> None:
        self._busy.append(trial)
        if trial.folder not in self._waited_for:
            self._waited_for.add(trial.folder)
            self.say(f"{trial.title}: another process runs it still; waiting until that has ended")

    def _end(self, process: Process) -> None:
        trial, status = process.trial, process.popen.returncode
        process.note_seconds()
        if self.received:
            return
        outcome = outcome_of(trial) if status == 0 else None
        self._seconds.append(time.monotonic() - process.began)
        self._note_end(trial, outcome)
        head = self._head(trial)
        if outcome is None:
            told = last_words(trial.log)
            self.say(f"{head}failed with status {status}, {told} (all of it in {trial.log})")
        else:
            self.say(f"{head}{self._figure(outcome)}, {duration(self._seconds[-1])}{self._left()}")

    def _note_end(self, trial: Trial, outcome: Outcome | None) -> None:
        self.ended.append((trial, outcome))
        own = [found for one, found in self.ended if one.name == trial.name]
        if len(own) == len(self.maker.of(self._asked[trial.name])):
            values = [None if o is None else o.figures.get(self.metric.name) for o in own]
            there = [value for value in values if value is not None]
            self.search.tell(
                self._asked[trial.name], mean(there) if len(there) == len(own) else None
            )

    def _head(self, trial: Trial) -> str:
        return f"[{len(self.ended)}/{self.count}] {trial.title}: "

    def _figure(self, outcome: Outcome) -> str:
        value = outcome.figures.get(self.metric.name)
        told = "not logged" if value is None else f"{value:.4g}"
        return f"{self.metric.name} {told}"

    def _left(self) -> str:
        left = self.count - len(self.ended)
        if not left:
            return ""
        rounds = -(-left // len(self.places))
        return f"; {left} left, about {duration(mean(self._seconds) * rounds)}"

    def _note(self, number: int, frame: Any) -> None:
        self.received.append(number)
        for process in self._running:
            with suppress(ProcessLookupError):
                process.popen.send_signal(self._passed_on(number))

    def _passed_on(self, number: int) -> int:
        if len(self.received) > 1 and number != getattr(signal, "SIGUSR1", None):
            return signal.SIGKILL
        return number if number == getattr(signal, "SIGUSR1", None) else signal.SIGTERM


def duration(seconds: float) -> str:
    """For people: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
