"""Several evaluations in one table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.linear_probe import LinearProbe
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.evaluation.representation import Representation

Place = tuple[int, str, str]


class Overview(Evaluation):
    """Several evaluations one after the other, in one table: a row for each stage and feature, with
    the values of all. Where two have a value of the same name, the later one's has the evaluation's
    kind before it, as in `probe_top1`. Each leaves its own pictures.

    Args:
        evaluations: by class path or name; null for linear probes, and the measures of
            representations with 20 nearest neighbours among them.

    Raises:
        ValueError: for an empty list.
    """

    kind: ClassVar[str] = "overview"
    title: ClassVar[str] = "Overview"

    def __init__(self, evaluations: list[Evaluation] | None = None) -> None:
        if evaluations is not None and not evaluations:
            raise ValueError("Overview needs at least one evaluation")
        self.evaluations = evaluations or [LinearProbe(), Representation()]

    def under(self, protocol: ProbeSettings, make_trainer: Callable[[int], Trainer]) -> Self:
        for evaluation in self.evaluations:
            evaluation.under(protocol, make_trainer)
        return super().under(protocol, make_trainer)

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        values: dict[Place, dict[str, float]] = {}
        settings: dict[Place, dict[str, Any]] = {}
        for evaluation in self.evaluations:
            for row in evaluation.run(network, data):
                place = (row.index, row.stage, row.feature)
                own = values.setdefault(place, {})
                settings.setdefault(place, {}).update(row.settings)
                for name, value in row.values.items():
                    own[f"{evaluation.kind}_{name}" if name in own else name] = value
        order = list(
            values
        )  # stable: features of a stage stay in the order of the first evaluation
        return [
            Row(
                stage,
                index,
                feature,
                values[index, stage, feature],
                settings[index, stage, feature],
            )
            for index, stage, feature in sorted(order, key=lambda place: place[0])
        ]

    def leave(self, folder: Path) -> Sequence[Path]:
        return [path for evaluation in self.evaluations for path in evaluation.leave(folder)]
