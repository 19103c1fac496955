"""How alike the features of two networks are, stage by stage."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.data_check import require_fit
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.cka_matrix import cka_matrix, write_matrix
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import check_features
from blocklearn.pictures.heat_map import draw_heat_map

RAW = ("raw",)


class Similarity(Evaluation):
    """Linear CKA (arXiv 1905.00414) of the global average of every stage with those of another
    network, on the test set, from 0 to 1: `cka`, with the other's stage of the same place, and
    `cka_last`, with its last one. Left out where a feature is constant. `leave` writes `cka.png`
    and `cka.csv`, all stages with all.

    Too high where samples are fewer than dimensions; `batch` takes the unbiased minibatch estimate
    (arXiv 2010.15327).

    Args:
        to: checkpoint of the other network, of any backbone that takes the same samples.
        samples: evenly spaced over the test set, >= 4; all where there are fewer.
        batch: samples per batch of minibatch CKA, >= 4; null for linear CKA over all.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "similarity"
    title: ClassVar[str] = "Linear CKA with another network"
    learns: ClassVar[bool] = False

    def __init__(self, to: str, samples: int = 2000, batch: int | None = None) -> None:
        if samples < 4 or (batch is not None and batch < 4):
            raise ValueError(
                f"Similarity needs samples and a batch of at least 4, got {samples} and {batch}"
            )
        self.to, self.samples, self.batch = to, samples, batch
        self._names: list[list[str]] = []
        self._cka: list[list[float]] = []

    @property
    def main(self) -> str:
        return "cka"

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: where the checkpoint cannot be read, or its network not take these data, for
                fewer than four test samples, and for features that are not finite.
        """
        other = BlockwiseModule.load_from_checkpoint(self.to)
        try:
            require_fit(other, data, learns=False)
        except UserError as error:
            raise UserError(f"evaluation: Similarity: the network of {self.to}: {error}") from error
        own, others = (self._features(one, data) for one in (network, other))
        specs, theirs = (one.feature_specs(kinds=RAW) for one in (network, other))
        self._names = [[spec.stage for spec in of] for of in (specs, theirs)]
        self._cka = cka_matrix(own, others, self.batch)
        rows = []
        for place, spec in enumerate(specs):
            line = self._cka[place]
            found = {"cka": line[place]} if place < len(line) else {}
            found["cka_last"] = line[-1]
            there = {name: value for name, value in found.items() if math.isfinite(value)}
            how = {"dimensions": spec.width, "samples": len(own[0]), "to": self.to}
            rows.append(Row(spec.stage, spec.index, spec.kind, there, how))
        return rows

    def leave(self, folder: Path) -> Sequence[Path]:
        """`cka.png`, a heat map of all stages with all of the other network, and `cka.csv`."""
        own, others = self._names
        picture = draw_heat_map(
            self._cka,
            own,
            others,
            folder / "cka.png",
            self.title if self.batch is None else "Minibatch CKA",
            f"How alike each of {len(own)} stages and {len(others)} of {self.to} are, from 0 to 1; "
            f"the last two have {self._cka[-1][-1]:.2f}.",
            ("tested", "other"),
        )
        return [picture, write_matrix(folder / "cka.csv", self._cka, own, others)]

    def _features(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Tensor]:
        device = self.trainer().strategy.root_device
        found = collect_features(network, data.test_dataloader(), device, RAW).columns
        keys = [spec.key for spec in network.feature_specs(kinds=RAW)]
        check_features(data.title, "test", found, keys)
        chosen = evenly_spaced(len(found["index"]), self.samples)
        if len(chosen) < 4:
            raise UserError(
                f"evaluation: Similarity needs at least 4 test samples, {data.title} has "
                f"{len(chosen)}"
            )
        return [found[key][chosen] for key in keys]
