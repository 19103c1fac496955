"""A line for every setting of a sweep: how well it does, and what a step of it costs."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from blocklearn.ablation.outcome import Ended, Outcome
from blocklearn.ablation.sweep_file import Metric
from blocklearn.errors import UserError
from blocklearn.reporting.markdown import as_markdown
from blocklearn.reporting.tables import print_table
from blocklearn.weights.atomic_write import replacing

MB = 2**20
OF_BLOCK = "probe/block"
DIFFERENCE = "difference"
HEADINGS = {
    "best_block": "best at",
    "seconds_per_batch": "s a batch",
    "held_MB": "MB held",
    "objective_MB": "MB of objectives",
}


class StepCost(NamedTuple):
    """Of a training step, counted without computing anything.

    Attributes:
        held_bytes: most that tensors hold at once: weights, optimizer, the largest block's step.
        objective_bytes: weights and buffers that are there for training alone.
        flops: of convolutions, matrix products and attention.
    """

    held_bytes: float
    objective_bytes: float
    flops: float


def print_settings(
    ended: Ended,
    metric: Metric,
    shown: Sequence[str],
    costs: Mapping[str, StepCost],
    path: Path,
    against: str | None = None,
) -> Path:
    """The table, also in Markdown, and as CSV with the mean and the standard deviation (n - 1) of
    every figure.

    Args:
        ended: trials, and what became of them.
        metric: of the sweep.
        shown: further figures, by their names in `metrics.csv`; `knn` is `blockN/knn` of the last
            block that has one.
        costs: of every setting that came to its end, by its name; empty where nothing was counted.
        path: of the CSV file.
        against: the setting that the metric of every other is compared with, seed by seed: the mean
            of the differences and their standard deviation (n - 1).

    Raises:
        UserError: for a figure that no run has logged, and a setting that has not ended.
    """
    settings = dict.fromkeys(trial.name for trial, outcome in ended if outcome)
    found = {name: [o for t, o in ended if o and t.name == name] for name in settings}
    names = list(dict.fromkeys([metric.name, *shown]))
    for name in names:
        _require_logged(name, found)
    lines = [_line(name, runs, names, costs.get(name)) for name, runs in found.items()]
    if against is not None:
        differences = differences_from(against, ended, metric.name)
        lines = [_after(line, metric.name, differences[str(line["setting"])]) for line in lines]
    with replacing(path.with_suffix(".md")) as unfinished:
        unfinished.write_text(f"{_show(lines)}\n")
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
    return path


def best_block(runs: Sequence[Outcome]) -> tuple[str, list[float]] | None:
    """The block whose accuracy, as a mean over the runs, is the largest, and the runs' values."""
    blocks: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.figures.items():
            if name.startswith(OF_BLOCK) and name.count("/") == 1:
                blocks.setdefault(name.removeprefix("probe/"), []).append(value)
    whole = {name: values for name, values in blocks.items() if len(values) == len(runs)}
    return max(whole.items(), key=lambda entry: mean(entry[1])) if whole else None


def differences_from(against: str, ended: Ended, figure: str) -> dict[str, list[float]]:
    """By setting: its figure minus that of `against`, of every seed that both have.

    Raises:
        UserError: where no run of `against` has ended.
    """
    values: dict[str, dict[int | None, float]] = {}
    for trial, outcome in ended:
        value = None if outcome is None else _value(outcome, figure)
        own = values.setdefault(trial.name, {})
        if value is not None:
            own[trial.seed] = value
    if not values.get(against):
        raise UserError(
            f"ablate: --against {against}: no run of that setting has ended; there are "
            f"{', '.join(name for name, own in values.items() if own)}"
        )
    base = values[against]
    return {
        name: [own[seed] - base[seed] for seed in own if seed in base]
        for name, own in values.items()
    }


def _after(
    line: Mapping[str, object], figure: str, differences: Sequence[float]
) -> dict[str, object]:
    """With the difference behind the figure."""
    if figure not in line:
        return dict(line)
    told = _spread(f"probe/{DIFFERENCE}", differences)
    at = list(line).index(f"{figure}_sd" if f"{figure}_sd" in line else figure) + 1
    entries = list(line.items())
    return {**dict(entries[:at]), **told, **dict(entries[at:])}


def _line(
    name: str, runs: Sequence[Outcome], names: Sequence[str], cost: StepCost | None
) -> dict[str, object]:
    line: dict[str, object] = {"setting": name, "runs": len(runs)}
    for figure in names:
        line |= _spread(figure, [v for run in runs if (v := _value(run, figure)) is not None])
    best = best_block(runs)
    if best:
        line |= {"best_block": best[0], **_spread("probe/best", best[1])}
    batches = [run.seconds_per_batch for run in runs if run.seconds_per_batch]
    if batches:
        line["seconds_per_batch"] = min(batches)
    if cost:
        line["held_MB"] = round(cost.held_bytes / MB, 1)
        line["objective_MB"] = round(cost.objective_bytes / MB, 2)
        line["GFLOP"] = round(cost.flops / 1e9, 2)
    return line


def _value(run: Outcome, figure: str) -> float | None:
    """By its name, or of the last block where that names none."""
    if figure in run.figures or "/" in figure:
        return run.figures.get(figure)
    places = {
        int(block.removeprefix("block")): value
        for name, value in run.figures.items()
        for block, _, what in [name.partition("/")]
        if what == figure and block.removeprefix("block").isdecimal()
    }
    return places[max(places)] if places else None


def _spread(name: str, values: Sequence[float]) -> dict[str, object]:
    if not values:
        return {}
    sd = {f"{name}_sd": stdev(values)} if len(values) > 1 else {}
    return {name: mean(values), **sd}


def _require_logged(name: str, found: Mapping[str, Sequence[Outcome]]) -> None:
    runs = [run for of_setting in found.values() for run in of_setting]
    if all(_value(run, name) is None for run in runs):
        logged = {figure for run in runs for figure in run.figures}
        near = sorted(one for one in logged if one.rpartition("/")[2] == name.rpartition("/")[2])
        hint = f"; there are {', '.join(near)}" if near else "; metrics.csv of a run has them all"
        raise UserError(f"ablate: no run has logged {name}{hint}")


def _show(lines: Sequence[Mapping[str, object]]) -> str:
    """Print them; returns the same in Markdown."""
    keys = [k for k in dict.fromkeys(key for line in lines for key in line) if k[-3:] != "_sd"]
    keys = [key for key in keys if key != "runs" or len({line["runs"] for line in lines}) > 1]
    header = [HEADINGS.get(key, key.removeprefix("probe/")) for key in keys]
    rows = [[_cell(line, key) for key in keys] for line in lines]
    print_table("Every setting", header, rows)
    return as_markdown(header, rows)


def _cell(line: Mapping[str, object], key: str) -> str:
    value, sd = line.get(key), line.get(f"{key}_sd")
    if value is None:
        return "-"
    if key == "seconds_per_batch":
        return f"{value:.3g}"
    if not isinstance(value, float) or key in ("held_MB", "objective_MB", "GFLOP"):
        return f"{value}"
    digits = 1 if key.startswith("probe/") or value >= 10 else 3
    spread = f" ± {sd:.{digits}f}" if isinstance(sd, float) else ""
    return f"{value:.{digits}f}{spread}"
