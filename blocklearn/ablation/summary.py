"""What a sweep has found: a table, a picture and two CSV files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from blocklearn.ablation.further_tests import FurtherTest, found_by
from blocklearn.ablation.outcome import OF_TEST, Ended
from blocklearn.ablation.sweep_file import Metric
from blocklearn.ablation.trials import SEED
from blocklearn.errors import UserError
from blocklearn.reporting.comparison import plot_comparison, print_comparison, write_comparison
from blocklearn.reporting.markdown import write_markdown
from blocklearn.reporting.results import Results
from blocklearn.weights.atomic_write import replacing


def summarise(
    ended: Ended, metric: Metric, folder: Path, tests: Sequence[FurtherTest] = ()
) -> list[Path]:
    """Print the tables and what is best, and write the files. Returns those that were written.

    Args:
        ended: trials, and what became of them; None for those that failed.
        metric: that they are ranked by.
        folder: for `ablation.png`, `ablation.csv` (as in the table), `ablation.md` (all values) and
            `trials.csv` (a line for every trial).
        tests: what else the runs were put to; each has a table, a picture and a file of its own.

    Raises:
        UserError: for a metric that no run has logged.
    """
    written = [_write_trials(ended, metric, folder / "trials.csv")]
    runs = by_setting(ended)
    if not any(runs.values()):
        return written
    tables = [("", "ablation", runs)]
    for test in tests:
        how = f"--test {test.text!r}"
        if found := found_by(test, ended):
            tables.append((how, f"ablation_{test.name}", found))
        else:
            print(f"{how}: no run has been tested so yet")
    for how, name, found in tables:
        if how:
            print(f"\n{how}")
        print_comparison(found)
        picture = plot_comparison(found, folder / f"{name}.png")
        written += [picture, write_comparison(found, folder / f"{name}.csv")]
    print(_best(ended, metric))
    return [
        *written,
        write_markdown({how: found for how, _, found in tables}, folder / "ablation.md"),
    ]


def by_setting(ended: Ended) -> dict[str, list[Results]]:
    """The results of every setting over its seeds; its name says how many of its runs failed."""
    found: dict[str, list[Results]] = {}
    for name in dict.fromkeys(trial.name for trial, _ in ended):
        own = [outcome for trial, outcome in ended if trial.name == name]
        failed = own.count(None)
        told = f" ({failed} of {len(own)} failed)" if failed and len(own) > 1 else " (failed)"
        label = f"{name}{told}" if failed else name
        found[label] = [outcome.results for outcome in own if outcome is not None]
    return found


def figures_by_setting(ended: Ended, name: str) -> dict[str, list[float]]:
    """One figure of every setting, over those seeds that have it."""
    found: dict[str, list[float]] = {}
    for trial, outcome in ended:
        if outcome is not None and name in outcome.figures:
            found.setdefault(trial.name, []).append(outcome.figures[name])
    return found


def _best(ended: Ended, metric: Metric) -> str:
    found = figures_by_setting(ended, metric.name)
    if not found:
        logged = sorted({n for _, o in ended if o for n in o.figures if n.count("/") == 1})
        raise UserError(
            f"ablate: no run has logged the metric {metric.name} of the sweep file; there are "
            f"{', '.join(logged)}"
        )
    pick = max if metric.maximize else min
    name = pick(found, key=lambda one: mean(found[one]))
    values = found[name]
    spread = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
    way = "largest" if metric.maximize else "smallest"
    return f"Best, by the {way} {metric.name}: {name}, {mean(values):.4g}{spread}"


def _write_trials(ended: Ended, metric: Metric, path: Path) -> Path:
    """A line for every trial: settings, seed, how it ended, seconds, the metric, and all that its
    test found."""
    lines = []
    for trial, outcome in ended:
        how: Mapping[str, object] = {**trial.settings, SEED: trial.seed, "folder": trial.folder}
        if outcome is None:
            lines.append({**how, "state": "failed"})
            continue
        found = {n: v for n, v in outcome.figures.items() if n.startswith(OF_TEST)}
        told = {metric.name: outcome.figures.get(metric.name), **found}
        lines.append({**how, "state": "finished", "seconds": outcome.seconds, **told})
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
    return path
