"""`results.json`: what an evaluation found, for scripts and for comparisons."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from blocklearn.errors import UserError
from blocklearn.evaluation.linear_probe import ProbeRow, ProbeSettings
from blocklearn.weights.atomic_write import replacing


@dataclass(frozen=True)
class ProbeResults:
    """Of one evaluation of one network.

    Attributes:
        checkpoint: what was evaluated; None for initial weights.
        dataset: title of the data set.
        target: which of its labellings was learnt; None where it has one.
        num_classes: of the labels.
        settings: of the evaluation, as `ProbeSettings` has them; empty where they are not known.
        rows: one a feature.
    """

    checkpoint: str | None
    dataset: str
    target: str | None
    num_classes: int
    settings: Mapping[str, Any]
    rows: Sequence[ProbeRow]

    @property
    def title(self) -> str:
        """What table and picture are called."""
        known = {field.name for field in fields(ProbeSettings)}
        settings = ProbeSettings(
            **{name: value for name, value in self.settings.items() if name in known}
        )
        return f"{settings.title(self.target)} on {self.dataset}"


def write_results(results: ProbeResults, path: Path) -> None:
    """Write `results.json`, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(results), indent=2) + "\n")


def read_results(path: Path) -> ProbeResults:
    """Read what `write_results` wrote.

    Raises:
        UserError: for a missing or damaged file, by name.
    """
    try:
        content = json.loads(path.read_text())
        kinds = {
            "stage": str,
            "index": int,
            "feature": str,
            "lr": float,
            "epochs": int,
            "top1": float,
            "top5": float,
        }
        rows = [
            ProbeRow(**{name: kind(row[name]) for name, kind in kinds.items()})
            for row in content["rows"]
        ]
        return ProbeResults(
            content["checkpoint"],
            content["dataset"],
            content.get("target"),  # none in files of blocklearn 0.1
            content["num_classes"],
            content.get("settings", {}),
            rows,
        )
    except OSError as error:
        raise UserError(f"results: cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"results: {path} is damaged, or not written by blocklearn test ({error!r})"
        ) from error
