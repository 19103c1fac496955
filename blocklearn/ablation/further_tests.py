"""`blocklearn ablate --test`: further evaluations of runs that have ended."""

import re
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from blocklearn.ablation.outcome import Ended, last_words
from blocklearn.ablation.pool import Pool
from blocklearn.ablation.processes import Process
from blocklearn.ablation.runner import duration
from blocklearn.ablation.trials import Trial, cleaned
from blocklearn.errors import UserError
from blocklearn.reporting.results import Results, read_results
from blocklearn.runs.command_of_test import command_of_test
from blocklearn.runs.run_folder import RESULTS, RunFolder

AGAINST = "{against}"


@dataclass(frozen=True)
class FurtherTest:
    """One way of testing every run.

    Attributes:
        text: as it was given: the name of an evaluation or of a configuration, and flags of
            `blocklearn test`. `{against}` in it is a checkpoint: the last of the run of the setting
            `against` with the same seed.
        against: a setting of the sweep.

    Raises:
        UserError: for a `{against}` where there is no such setting.
    """

    text: str
    against: str | None = None

    def __post_init__(self) -> None:
        if AGAINST in self.text and self.against is None:
            raise UserError(
                f"ablate: --test {self.text!r}: {AGAINST} is the run that others are compared "
                "with; name its setting with --against SETTING"
            )

    @property
    def words(self) -> list[str]:
        """What `blocklearn test` is told beside the run's own configuration.

        Raises:
            UserError: where the text begins with a flag, or its quotes are not closed.
        """
        try:
            first, *flags = shlex.split(self.text)
        except ValueError as error:
            raise UserError(f"ablate: --test {self.text!r}: {error}") from None
        if first.startswith("-"):
            raise UserError(
                f"ablate: --test {self.text!r} begins with a flag; begin with the name of an "
                'evaluation or of a configuration, e.g. --test "KNN --evaluation.k [20]"'
            )
        kind = "--config" if first.endswith((".yaml", ".yml")) else "--evaluation"
        return [kind, first, *flags]

    @property
    def name(self) -> str:
        """Of its tables and pictures."""
        text = self.text.replace(AGAINST, str(self.against))
        words = re.sub(r"\.ya?ml\b|--(evaluation\.)?", "", text)
        return cleaned(words).lower()

    @property
    def folder(self) -> str:
        """Name of that of its results, in that of the run; none that a run's own tests have."""
        return f"test_{self.name}"

    def of(self, trial: Trial, others: Iterable[Trial] = ()) -> Trial | None:
        """The trial's test, to be run in its folder; None where it needs a run that is not there.

        Args:
            trial: that is tested.
            others: runs that have ended.
        """
        words = [*self.words, "--save_as", self.folder]
        if AGAINST in self.text:
            same = [t for t in others if (t.name, t.seed) == (self.against, trial.seed)]
            if not same:
                return None
            checkpoint = str(RunFolder(same[0].folder).last_checkpoint)
            words = [word.replace(AGAINST, checkpoint) for word in words]
        return replace(trial, arguments=tuple(command_of_test(RunFolder(trial.folder), *words)))

    def results_of(self, trial: Trial) -> Path | None:
        """What it found of the trial as it is now; None where it was not tested since."""
        path, state = trial.folder / self.folder / RESULTS, RunFolder(trial.folder).last_checkpoint
        if not path.exists():
            return None
        learned_on = state.exists() and path.stat().st_mtime < state.stat().st_mtime
        return None if learned_on else path


class FurtherTests:
    """Tests runs that have ended, several beside one another, and leaves out what was tested
    before.

    Args:
        ended: trials, and what became of them; those that failed are left out.
        tests: all of which every trial is put to.
        places: for each of the tests beside one another, the variables of its environment.
        say: gets a line for every test that ended.

    Attributes:
        failed: what went wrong.
    """

    def __init__(
        self,
        ended: Ended,
        tests: Sequence[FurtherTest],
        places: Sequence[Mapping[str, str]],
        say: Callable[[str], object] = print,
    ) -> None:
        trials = [trial for trial, outcome in ended if outcome is not None]
        # test after test, so that two tests of one run seldom wait for each other
        missing = [(t, trial) for t in tests for trial in trials if t.results_of(trial) is None]
        found = [(t.of(trial, trials), t, trial) for t, trial in missing]
        self._left = deque((made, test) for made, test, _ in found if made)
        self.count, self.done, self.say = len(self._left), 0, say
        self.failed = [
            f"{trial.title}, {test.text}; why: no run of {test.against} with its seed has ended"
            for made, test, trial in found
            if made is None
        ]
        self._pool = Pool(places, self, say)
        self._begun: dict[tuple[str, ...], FurtherTest] = {}
        self._seconds: list[float] = []

    @property
    def received(self) -> list[int]:
        """Numbers of the signals that came."""
        return self._pool.received

    def run(self) -> None:
        """Until nothing is left, or a signal comes."""
        self._pool.run()

    def following(self) -> Trial | None:
        if not self._left:
            return None
        trial, test = self._left.popleft()
        self._begun[trial.arguments] = test
        return trial

    def put_back(self, trial: Trial) -> None:
        self._left.append((trial, self._begun.pop(trial.arguments)))

    def finish(self, process: Process) -> None:
        if self.received:
            return
        trial = process.trial
        test = self._begun.pop(trial.arguments)
        self.done += 1
        self._seconds.append(time.monotonic() - process.began)
        head = f"[{self.done}/{self.count}] {test.text}, {trial.title}: "
        if process.popen.returncode or test.results_of(trial) is None:
            self.failed.append(f"{trial.title}, {test.text}; why: {trial.log}")
            self.say(f"{head}failed, {last_words(trial.log)} (all of it in {trial.log})")
            return
        left = self.count - self.done
        ahead = -(-left // len(self._pool.places)) * mean(self._seconds)
        told = f"; {left} left, about {duration(ahead)}" if left else ""
        self.say(f"{head}{duration(self._seconds[-1])}{told}")


def found_by(test: FurtherTest, ended: Ended) -> dict[str, list[Results]]:
    """What a test found of every setting over its seeds; empty where it found nothing yet."""
    found: dict[str, list[Results]] = {}
    for trial, outcome in ended:
        path = test.results_of(trial) if outcome else None
        if path is not None:
            found.setdefault(trial.name, []).append(read_results(path))
    return found
