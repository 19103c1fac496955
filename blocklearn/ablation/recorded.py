"""What an earlier start of the same sweep has tried."""

from statistics import mean
from typing import Any

from blocklearn.ablation.outcome import outcome_of
from blocklearn.ablation.search import Settings
from blocklearn.ablation.sweep_file import Metric
from blocklearn.ablation.trials import RECORD, TrialMaker, read_record


def known_settings(maker: TrialMaker, metric: Metric) -> list[tuple[Settings, float | None]]:
    """Settings in the order in which they were begun, and the mean of the metric over their seeds;
    None where one of those has not ended."""
    records = sorted(maker.folder.glob(f"**/{RECORD}"), key=lambda path: _began(path.parent))
    found: dict[str, Any] = {}
    for path in records:
        settings = (read_record(path.parent) or {}).get("settings")
        if isinstance(settings, dict) and _is_of(settings, maker):
            found.setdefault(repr(settings), settings)
    return [(settings, _value(settings, maker, metric)) for settings in found.values()]


def _is_of(settings: Settings, maker: TrialMaker) -> bool:
    return settings.keys() == {parameter.name for parameter in maker.sweep.parameters}


def _value(settings: Settings, maker: TrialMaker, metric: Metric) -> float | None:
    outcomes = [outcome_of(trial) for trial in maker.of(settings)]
    values = [outcome.figures.get(metric.name) if outcome else None for outcome in outcomes]
    there = [value for value in values if value is not None]
    return mean(there) if len(there) == len(values) else None


def _began(folder: Any) -> float:
    return float((read_record(folder) or {}).get("began", 0.0))
