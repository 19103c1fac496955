"""What became of a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isnan
from pathlib import Path

from blocklearn.ablation.trials import Trial, read_record
from blocklearn.evaluation import Row
from blocklearn.reporting.metrics_csv import FILE, whole_rows
from blocklearn.reporting.plain_files import read_plain
from blocklearn.reporting.results import Results, read_results
from blocklearn.reporting.run_facts import read_facts
from blocklearn.runs.run_folder import UNTRAINED, RunFolder

OF_TEST = "probe/"


@dataclass(frozen=True)
class Outcome:
    """Of a trial that came to its end.

    Attributes:
        results: of its test.
        figures: the last value of everything that was logged, by its name.
        seconds: that it took, all of its parts together; null where that is not known.
        seconds_per_batch: of training, the median of its last part; null where that is not known.
    """

    results: Results
    figures: dict[str, float]
    seconds: float | None
    seconds_per_batch: float | None = None


Ended = Sequence[tuple[Trial, Outcome | None]]  # trials, and what became of them; None: it failed


def outcome_of(trial: Trial) -> Outcome | None:
    """None for a trial that has not come to its end: trained, tested and logged, by the command
    that it has now."""
    record = read_record(trial.folder)
    if record is None or record.get("arguments") != list(trial.arguments):
        return None
    figures = last_values(trial.folder / FILE)
    results = _logged_results(trial.folder, figures)
    if results is None:
        return None
    seconds = record.get("seconds")
    parts = read_facts(RunFolder(trial.folder).facts)
    return Outcome(
        results,
        figures,
        seconds if isinstance(seconds, float) else None,
        parts[-1].get("seconds_per_batch") if parts else None,
    )


def last_values(path: Path) -> dict[str, float]:
    """Of every column of a `metrics.csv`; empty where there is none."""
    try:
        rows = whole_rows(read_plain(path) or b"")[1]
    except OSError:
        return {}
    return {name: float(value) for row in rows for name, value in row.items() if _number(value)}


def last_words(log: Path) -> str:
    """Why a run failed: the last line of its log that says so, or else the last of all."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return "it left no log"
    told = [line for line in lines if line]
    errors = [line for line in told if line.startswith("blocklearn: error: ")]
    last = (errors or told or ["it printed nothing"])[-1]
    return last.removeprefix("blocklearn: error: ")


def _logged_results(folder: Path, figures: Mapping[str, float]) -> Results | None:
    """Those of the test that the run itself has logged, whatever else it was tested by."""
    for path in RunFolder(folder).evaluations():
        if not path.parent.name.endswith(UNTRAINED):
            results = read_results(path)
            if results.rows and all(_is_logged(row, figures) for row in results.rows):
                return results
    return None


def _is_logged(row: Row, figures: Mapping[str, float]) -> bool:
    logged = [
        (value, figures.get(f"{OF_TEST}{row.stage}/{row.feature}/{name}"))
        for name, value in row.values.items()
    ]
    return all(
        figure is not None and (isnan(value) or isclose(figure, value, rel_tol=1e-4))
        for value, figure in logged
    )


def _number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
