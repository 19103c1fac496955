"""Run the trials of a sweep on this machine, several beside one another."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import mean

from blocklearn.ablation.outcome import Outcome, last_words, outcome_of
from blocklearn.ablation.pool import Pool
from blocklearn.ablation.processes import Process
from blocklearn.ablation.search import Search, Settings
from blocklearn.ablation.sweep_file import Metric
from blocklearn.ablation.trials import Trial, TrialMaker


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
    """

    def __init__(
        self,
        search: Search,
        maker: TrialMaker,
        metric: Metric,
        places: Sequence[Mapping[str, str]],
        say: Callable[[str], object] = print,
    ) -> None:
        self.search, self.maker, self.metric, self.say = search, maker, metric, say
        self.ended: list[tuple[Trial, Outcome | None]] = []
        self._pool = Pool(places, self, say)
        self._queue: deque[Trial] = deque()
        self._asked: dict[str, Settings] = {}
        self._seconds: list[float] = []

    @property
    def received(self) -> list[int]:
        """Numbers of the signals that came."""
        return self._pool.received

    @property
    def count(self) -> int:
        """Of all trials."""
        return self.search.count * len(self.maker.seeds or [None])

    def run(self) -> None:
        """Until nothing is left, or a signal comes: the runs that are under way then save their
        state and end; a second one kills them."""
        self._pool.run()

    def following(self) -> Trial | None:
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
                trial.record()
                return trial
            self._note_end(trial, outcome)
            self.say(f"{self._head(trial)}{self._figure(outcome)}, done before")

    def put_back(self, trial: Trial) -> None:
        self._queue.append(trial)

    def finish(self, process: Process) -> None:
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
        left = self.count - len(self.ended) - self._still_to_come_but_done()
        if not left:
            return ""
        rounds = -(-left // len(self._pool.places))
        return f"; {left} left, about {duration(mean(self._seconds) * rounds)}"

    def _still_to_come_but_done(self) -> int:
        """Runs that an earlier start has ended, and that this one has not come to yet."""
        counted = {trial.folder for trial, _ in self.ended}
        known = [trial for settings in self.search.examples() for trial in self.maker.of(settings)]
        ahead = [trial for trial in known if trial.folder not in counted]
        return sum(outcome_of(trial) is not None for trial in ahead)


def duration(seconds: float) -> str:
    """For people: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
