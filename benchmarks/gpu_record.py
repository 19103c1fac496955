"""What a visit to a GPU leaves behind: how every stage ended, `results.json` and `summary.md`."""

import json
import platform
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gpu_stages import Stage
from benchmarks.rows import Row, load_rows, short
from blocklearn.machine import available_cores

DONE, FAILED, LEFT_OUT, STOPPED, WAITS = "done", "failed", "left out", "stopped", "not begun"
PACKAGES = ("torch", "torchvision", "lightning", "timm", "triton", "numpy")
ROOT = Path(__file__).parents[1]


@dataclass
class Ending:
    """How a stage ended.

    Attributes:
        name: of the stage.
        status: `done`, `failed`, `left out`, `stopped` (at the budget's end) or `not begun`.
        said: why, or the last line of a failed one.
        seconds: that it took.
        command: that was run.
        log: its file.
    """

    name: str
    status: str
    said: str = ""
    seconds: float | None = None
    command: Sequence[str] = field(default_factory=list)
    log: str = ""


def ending_file(folder: Path, name: str) -> Path:
    return folder / "stages" / f"{name}.json"


def remember(folder: Path, ending: Ending) -> None:
    path = ending_file(folder, ending.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(ending), indent=2) + "\n")


def recall(folder: Path, stage: Stage) -> Ending | None:
    """Of a visit before; null where there was none, or it ran something else, or its result is
    gone."""
    path = ending_file(folder, stage.name)
    if not path.exists():
        return None
    ending = Ending(**json.loads(path.read_text()))
    same = list(ending.command) == list(stage.command)
    there = all(file is None or file.exists() for file in (stage.rows, stage.tests))
    return ending if same and there else None


def rows_of(stage: Stage) -> list[Row]:
    """What it measured, and for tests how many failed."""
    rows = load_rows(stage.rows) if stage.rows and stage.rows.exists() else []
    if stage.tests and stage.tests.exists():
        counts = count_tests(stage.tests)
        told = f"{stage.about}: {counts['passed']} passed, {counts['skipped']} skipped"
        rows.append(
            Row(f"{stage.name} failed", told, "", "", [counts["failed"]], (), 0, notes=counts)
        )
    return rows


def count_tests(path: Path) -> dict[str, int]:
    """Tests that passed, failed (errors too) and were skipped, from JUnit XML."""
    suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    total, skipped, failures, errors = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "skipped", "failures", "errors")
    )
    failed = failures + errors
    return {"passed": total - skipped - failed, "failed": failed, "skipped": skipped}


def machine() -> dict[str, Any]:
    """Facts that figures cannot be compared without."""
    return {
        "GPU": _told("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"),
        "driver": _told("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "CUDA of torch": torch.version.cuda or "none",
        "cuDNN": str(torch.backends.cudnn.version() or "none"),
        "Python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "processor": f"{platform.processor() or platform.machine()}, {available_cores()} cores",
        "system": platform.platform(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _told("git", "rev-parse", "HEAD"),
        "changed files": _told("git", "status", "--porcelain", "--untracked-files=no") or "none",
    }


def _told(*command: str) -> str:
    """What it prints, in a line."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return f"unknown (no {command[0]})"
    return "; ".join(line.strip() for line in done.stdout.splitlines())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write(
    folder: Path, endings: Sequence[Ending], rows: Sequence[tuple[str, Row]], quick: bool
) -> None:
    """`results.json` and `summary.md`.

    Args:
        folder: for both.
        endings: of the stages.
        rows: each with the stage that measured it.
        quick: sizes were tiny.
    """
    about = machine()
    content = {
        "about": {**about, "quick": quick},
        "stages": [asdict(ending) for ending in endings],
        "rows": [
            {"stage": stage, **asdict(row), "figure": median(row.figures), "met": row.met}
            for stage, row in rows
        ],
    }
    (folder / "results.json").write_text(json.dumps(content, indent=2, default=str) + "\n")
    (folder / "summary.md").write_text(summary(about, endings, rows, quick))


def summary(
    about: dict[str, Any],
    endings: Sequence[Ending],
    rows: Sequence[tuple[str, Row]],
    quick: bool,
) -> str:
    """The page."""
    trial = "\n**A trial with tiny sizes: its figures mean nothing.**\n" if quick else ""
    stages = [
        [one.name, one.status, _minutes(one.seconds), one.said, Path(one.log).name]
        for one in endings
    ]
    sizes = {stage: row.notes["about"] for stage, row in rows if "about" in row.notes}
    heads = ["stage", "row", "what", "baseline", "ours", "ratio", "spread over turns", "target"]
    return "\n".join(
        [
            "# A visit to a GPU",
            trial,
            *_table(["machine", ""], list(about.items())),
            "",
            *_table(["stage", "ended", "minutes", "", "log"], stages),
            "",
            *_table(heads, [[stage, *_cells(row)] for stage, row in rows]),
            "",
            *(f"- {stage}: {size}" for stage, size in sizes.items()),
            "",
        ]
    )


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f}"


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        row.what,
        row.baseline or "-",
        f"{short(median(row.ours))} {row.unit}".strip(),
        short(median(row.figures)) if row.theirs else "",
        f"{short(min(row.figures))} to {short(max(row.figures))}",
        _aim(row),
    ]


def _aim(row: Row) -> str:
    if row.target is None:
        return ""
    sign = ">=" if row.at_least else "<="
    return f"{sign} {short(row.target)}: {'met' if row.met else '**not met**'}"


def _table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> list[str]:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *map(line, lines)]
