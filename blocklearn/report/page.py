"""One page on one run or several, in one file that needs no network."""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from blocklearn import __version__
from blocklearn.evaluation.evaluation import Row
from blocklearn.pictures.figure import told
from blocklearn.report.runs import Group, ReportedRun, differences, grouped
from blocklearn.reporting.comparison_plot import plot_comparison
from blocklearn.reporting.plots import plot_results
from blocklearn.reporting.results import Results
from blocklearn.reporting.run_curves import draw_run_curves
from blocklearn.reporting.run_facts import read_facts
from blocklearn.reporting.tables import feature_name, value_name, with_spread
from blocklearn.weights.atomic_write import replacing

TEMPLATE = "page.html"
SETTINGS = {  # of every run, in words
    "backbone": "model.backbone",
    "blocks": "model.blocks",
    "objective": "model.objective.class_path",
    "criterion": "model.objective.init_args.criterion.class_path",
    "schedule": "model.schedule.class_path",
    "noise": "model.noise",
    "optimizer": "model.optimizer.class_path",
    "learning rate": "model.optimizer.init_args.lr",
    "batch size": "data.init_args.batch_size",
    "epochs": "trainer.max_epochs",
    "seed": "seed_everything",
}
MOST_PANELS = 4


class Table(NamedTuple):
    """As the page shows it.

    Attributes:
        title: above it.
        header: one text a column.
        rows: of texts; the first is the row's name.
        note: below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Picture(NamedTuple):
    """As the page shows it.

    Attributes:
        title: below it.
        text: for those who do not see it.
        source: the file itself, as a data URI.
    """

    title: str
    text: str
    source: str


def write_report(runs: Sequence[ReportedRun], path: Path, title: str) -> Path:
    """Write the page, whole or not at all.

    Args:
        runs: at least one.
        path: of the page.
        title: of the page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    groups = grouped(runs)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        title=title,
        made=f"{datetime.now():%Y-%m-%d %H:%M} with blocklearn {__version__}",
        trained=_trained(runs),
        differing=_differing(runs),
        evaluations=_evaluations(groups),
        curves=_curves(groups),
        pictures=_pictures(runs),
        cost=_cost(runs),
        commands=[f"blocklearn fit --config {run.folder.config}" for run in runs],
    )
    with replacing(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path


def _trained(runs: Sequence[ReportedRun]) -> Table:
    rows = [["data", *(run.data for run in runs)]]
    for name, key in SETTINGS.items():
        values = [_text(run.config.get(key)) for run in runs]
        if any(values):
            rows.append([name, *values])
    return Table("Settings", ["", *(run.name for run in runs)], rows)


def _differing(runs: Sequence[ReportedRun]) -> Table | None:
    if len(runs) < 2:
        return None
    rows = [[key, *map(_text, values)] for key, values in differences(runs).items()]
    note = "" if rows else "The configurations are the same."
    return Table(
        "How the configurations differ", ["setting", *(run.name for run in runs)], rows, note
    )


def _evaluations(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A section for each: what the groups compare in, its picture, and every value of every
    group."""
    names = dict.fromkeys(name for group in groups for run in group.runs for name in run.results)
    sections = []
    for name in names:
        means = {group.name: found for group in groups if (found := group.results(name))}
        first = next(iter(means.values()))
        tables = [_compared(name, groups, means)] if len(means) > 1 else []
        tables += [
            _of_group(name, group, means[group.name]) for group in groups if group.name in means
        ]
        sections.append(
            {
                "title": f"{first.full_title}" + (" (untrained)" if "untrained" in name else ""),
                "tables": tables,
                "pictures": [_accuracy({g.name: g.found(name) for g in groups if g.found(name)})],
            }
        )
    return sections


def _compared(name: str, groups: Sequence[Group], means: dict[str, Results]) -> Table:
    first = next(iter(means.values()))
    value = first.compared
    places = dict.fromkeys(_place(row) for results in means.values() for row in results.rows)
    rows = []
    for place in places:
        cells = [_place_name(place)]
        for group in groups:
            if group.name not in means:
                continue
            found = [row for row in means[group.name].rows if _place(row) == place]
            cells.append(_cell(name, group, found[0], value, first.unit) if found else "-")
        rows.append(cells)
    unit = f", {first.unit}" if first.unit else ""
    return Table(f"{value_name(value)}{unit}", ["stage", *means], rows, _of_seeds(rows))


def _of_group(name: str, group: Group, results: Results) -> Table:
    names = results.names
    rows = [
        [
            _place_name(_place(row)),
            *(_cell(name, group, row, value, results.unit) for value in names),
        ]
        for row in results.rows
    ]
    header = ["stage", *map(value_name, names)]
    return Table(group.name, header, rows, _of_seeds(rows))


def _cell(evaluation: str, group: Group, row: Row, value: str, unit: str) -> str:
    if value not in row.values:
        return "-"
    spread = group.spread(evaluation, row, value)
    return with_spread(row.values[value], spread, unit, of_percent=2)


def _of_seeds(rows: Sequence[Sequence[str]]) -> str:
    several = any("±" in cell for row in rows for cell in row)
    return "Mean ± standard deviation over the seeds (n - 1)." if several else ""


def _place(row: Row) -> tuple[int, str, str, str]:
    return row.index, row.stage, row.feature, str(row.settings.get("data", ""))


def _place_name(place: tuple[int, str, str, str]) -> str:
    index, stage, feature, data = place
    return f"{index} {stage}, {feature_name(feature)}" + (f", {data}" if data else "")


def _accuracy(found: Mapping[str, Sequence[Results]]) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        first, *others = found.values()
        if others or len(first) > 1:
            plot_comparison(found, path)
        else:
            plot_results({"": first[0]}, path)
        return _embedded(path)


def _curves(groups: Sequence[Group]) -> list[Picture]:
    """Of the first run of each group; several groups side by side."""
    first = [group.runs[0] for group in groups[:MOST_PANELS]]
    runs = {run.name: run.folder.path for run in first}
    if len(runs) == 1:
        runs = {"": next(iter(runs.values()))}
    with tempfile.TemporaryDirectory() as folder:
        return [_embedded(path) for path in draw_run_curves(runs, Path(folder))]


def _pictures(runs: Sequence[ReportedRun]) -> list[dict[str, Any]]:
    """What evaluations left in the run's folder, beside what this page draws itself."""
    found = []
    for run in runs:
        files = sorted(run.folder.path.glob("*.png")) + sorted(run.folder.path.glob("*/*.png"))
        files = [
            file
            for file in files
            if file.parent.name != "curves" and file.name != "accuracy_by_block.png"
        ]
        if files:
            found.append({"title": run.name, "pictures": [_embedded(file) for file in files]})
    return found


def _embedded(path: Path) -> Picture:
    title, text = told(path)
    coded = base64.b64encode(path.read_bytes()).decode()
    return Picture(title, text, f"data:image/png;base64,{coded}")


def _cost(runs: Sequence[ReportedRun]) -> Table | None:
    """Where each run was trained and what it cost, its parts added up."""
    rows: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        parts = read_facts(run.folder.facts)
        if not parts:
            continue
        seconds = sum(float(part["seconds"]) for part in parts)
        batches = sum(int(part["to_batch"]) - int(part["from_batch"]) for part in parts)
        last = parts[-1]
        told_of = {
            "time": f"{seconds:,.0f} s" + (f" in {len(parts)} parts" if len(parts) > 1 else ""),
            "batches": f"{batches:,}",
            "time of a batch": f"{1000 * seconds / max(batches, 1):.1f} ms",
            "peak memory": f"{max(int(p['peak_memory_bytes']) for p in parts) / 2**20:,.0f} MiB",
            **{
                key: _text(last.get(key))
                for key in ("device", "processes", "threads", "precision", "python", "system")
            },
            **{key: _text(last.get(key)) for key in ("blocklearn", "torch", "lightning", "timm")},
        }
        for key, value in told_of.items():
            rows.setdefault(key, [""] * len(runs))[number] = value
    if not rows:
        return None
    lines = [[key, *values] for key, values in rows.items()]
    return Table("Time, memory and versions", ["", *(run.name for run in runs)], lines)


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = str(value)
    return text.rsplit(".", 1)[-1] if text.startswith(("blocklearn.", "torch.optim.")) else text
