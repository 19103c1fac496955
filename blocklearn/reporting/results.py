"""`results.json`: what an evaluation found, for scripts and for comparisons."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklearn.errors import UserError
from blocklearn.evaluation import FineTune, LinearProbe
from blocklearn.evaluation.evaluation import Row, full_title
from blocklearn.weights.atomic_write import replacing

PLACE = ("stage", "index", "feature")
ACCURACIES = ["top1", "top5"]  # the values of files of blocklearn 0.1, which do not list them


@dataclass(frozen=True)
class Results:
    """Of one evaluation of one network.

    Attributes:
        checkpoint: what was evaluated; None for initial weights.
        dataset: title of the data set.
        target: which of its labellings was learned; None where it has one.
        num_classes: of the labels.
        settings: of the evaluation; empty where they are not known.
        rows: one per feature.
        evaluation: its class.
        title: what table and picture are called, without the data set.
        unit: of the values.
        main: the value that comparisons show; None for the first.
        higher_is_better: whether its largest value is the best.
    """

    checkpoint: str | None
    dataset: str
    target: str | None
    num_classes: int
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    evaluation: str = "LinearProbe"
    title: str = "Linear probes"
    unit: str = "accuracy in %"
    main: str | None = None
    higher_is_better: bool = True

    @property
    def full_title(self) -> str:
        """What table and picture are called."""
        return f"{self.title} on {self.dataset}"

    @property
    def names(self) -> list[str]:
        """Of the values, in the order in which they are shown."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))

    @property
    def compared(self) -> str:
        """The value that comparisons show."""
        return self.main or (self.names or ACCURACIES)[0]

    def as_plain(self) -> dict[str, Any]:
        """As the file holds it: rows flat, and which of their entries are values."""
        plain = {**vars(self), "values": self.names}
        return {**plain, "rows": [row.as_dict() for row in self.rows]}


def write_results(results: Results, path: Path) -> None:
    """Write `results.json`, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(results.as_plain(), indent=2) + "\n")


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        UserError: for a missing or damaged file, by name.
    """
    try:
        content = json.loads(path.read_text())
        names = content.get("values", ACCURACIES)
        told = {
            name: kind(content[name])
            for name, kind in (("evaluation", str), ("title", str), ("unit", str))
            if name in content
        }
        if "title" not in content:
            told |= _told_before(content)
        return Results(
            content["checkpoint"],
            content["dataset"],
            content.get("target"),  # none in files of blocklearn 0.1
            content["num_classes"],
            content.get("settings", {}),
            [_row(row, names) for row in content["rows"]],
            main=content.get("main"),
            higher_is_better=bool(content.get("higher_is_better", True)),
            **told,
        )
    except OSError as error:
        raise UserError(f"results: cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"results: {path} is damaged, or not written by blocklearn test ({error!r})"
        ) from error


def _row(row: Mapping[str, Any], names: Sequence[str]) -> Row:
    values = {name: float(row[name]) for name in names if name in row}
    if not values:
        raise ValueError(f"a row without {' and '.join(names)}")
    settings = {name: row[name] for name in row if name not in (*PLACE, *names)}
    return Row(str(row["stage"]), int(row["index"]), str(row["feature"]), values, settings)


def _told_before(content: Mapping[str, Any]) -> dict[str, str]:
    """The evaluation that a file of blocklearn 0.1 is of."""
    settings = content.get("settings", {})
    kind = FineTune if settings.get("finetune", False) else LinearProbe
    part = settings.get("labelled_part", 1.0)
    title = full_title(kind.title, content.get("target"), part)
    return {"evaluation": kind.__name__, "title": title}
