"""Transfer: the same evaluation on other labelled images, in one table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.images.image_datamodule import ImageDataModule
from blocklearn.data.images.image_folder import ImageFolder
from blocklearn.errors import UserError
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.linear_probe import LinearProbe
from blocklearn.evaluation.probe_settings import ProbeSettings

MEAN = "mean"  # over the data sets; what pictures and comparisons show


class Transfer(Evaluation):
    """Another evaluation, repeated on folders of labelled images that the network was not trained
    on; they are seen as the network's own images are, in its size and with its statistics. A row
    holds a feature on all of them, its values named by folder: `flowers/top1`; `mean` is the mean
    of the inner evaluation's main value over the folders.

    Args:
        roots: folders as `ImageFolder` takes them, `ROOT/train/CLASS/IMAGE` and `ROOT/val/...`.
        evaluation: what is done on each; null for `LinearProbe`.
        held_out: part of the images that is tested, in (0, 1), of a folder without test images.

    Raises:
        ValueError: for no folders, or a `Transfer` within a `Transfer`.
    """

    kind: ClassVar[str] = "transfer"

    def __init__(
        self,
        roots: Sequence[str],
        evaluation: Evaluation | None = None,
        held_out: float = 0.2,
    ) -> None:
        if not roots or isinstance(roots, str) or isinstance(evaluation, Transfer):
            raise ValueError(
                "Transfer needs a list of folders in roots, and an evaluation that is no Transfer"
            )
        self.roots, self.held_out = [str(root) for root in roots], held_out
        self.evaluation = evaluation or LinearProbe()
        inner = self.evaluation
        self.title = f"Transfer, {inner.title[0].lower()}{inner.title[1:]}"  # pyright: ignore
        self.unit, self.higher_is_better = inner.unit, inner.higher_is_better  # pyright: ignore

    @property
    def main(self) -> str:
        return MEAN

    def under(self, protocol: ProbeSettings, make_trainer: Callable[[int], Trainer]) -> Self:
        self.evaluation.under(protocol, make_trainer)
        return super().under(protocol, make_trainer)

    def name(self, target: str | None = None) -> str:
        """With the inner evaluation's kind: `transfer_knn`."""
        return f"{self.kind}_{self.evaluation.name()}"

    def dataset(self, data: KeyedDataModule) -> str:
        return ", ".join(names_of(self.roots))

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data that is not images, and as the inner evaluation does.
        """
        if not isinstance(data, ImageDataModule):
            raise UserError(f"evaluation: Transfer takes images, {data.title} has none")
        others = [ImageFolder.seen_as(data, root, self.held_out) for root in self.roots]
        for other in others:  # a folder that is not there is told before any is evaluated
            other.prepare_data()
            other.setup("test")
            other.probe_samples()
        found: dict[tuple[str, int, str], list[tuple[str, Row]]] = {}
        trainer = self.trainer()
        loggers, trainer.loggers = trainer.loggers, []  # they would take all for the same data
        try:
            for name, other in zip(names_of(self.roots), others, strict=True):
                for row in self.evaluation.run(network, other):
                    place = (row.stage, row.index, row.feature)
                    found.setdefault(place, []).append((name, row))
        finally:
            trainer.loggers = loggers
        rows = [self._one(*place, each) for place, each in found.items()]
        for logger in loggers:
            logger.log_metrics(
                {
                    f"probe/{row.stage}/{row.feature}/{name}": value
                    for row in rows
                    for name, value in row.values.items()
                }
            )
        return rows

    def _one(self, stage: str, index: int, feature: str, rows: list[tuple[str, Row]]) -> Row:
        main = self.evaluation.main or next(iter(rows[0][1].values))
        values = {MEAN: sum(row.values[main] for _, row in rows) / len(rows)}
        settings: dict[str, Any] = {}
        for name, row in rows:
            values |= {f"{name}/{key}": value for key, value in row.values.items()}
            settings |= {f"{name}/{key}": value for key, value in row.settings.items()}
        return Row(stage, index, feature, values, settings)


def names_of(roots: Sequence[str]) -> list[str]:
    """Of folders: their last part, or as much of their path as tells them apart.

    Raises:
        UserError: for a folder that is named twice.
    """
    paths = [Path(root).resolve() for root in roots]
    if len(set(paths)) < len(paths):
        raise UserError("evaluation: Transfer has the same folder twice in roots; leave one out")
    length = 1
    while len({path.parts[-length:] for path in paths}) < len(paths):
        length += 1
    return ["_".join(path.parts[-length:]).strip("/") for path in paths]
