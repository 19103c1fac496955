"""What the features of every stage look like, without a classifier."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.features import FeatureSpec
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.errors import UserError
from blocklearn.evaluation.augmented_views import features_of_views
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.cka_matrix import cka_matrix, write_matrix
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.knn import KNN
from blocklearn.evaluation.labels_check import require_sample_labels
from blocklearn.metrics.alignment import alignment
from blocklearn.metrics.alpha_req import alpha_req
from blocklearn.metrics.effective_rank import effective_rank
from blocklearn.metrics.feature_std import feature_std
from blocklearn.metrics.lidar import lidar
from blocklearn.metrics.participation_ratio import participation_ratio
from blocklearn.metrics.rank_me import rank_me
from blocklearn.metrics.rbf_cka import rbf_cka
from blocklearn.metrics.spectrum import covariance_spectrum
from blocklearn.metrics.uniformity import uniformity
from blocklearn.pictures.heat_map import draw_heat_map
from blocklearn.pictures.spectra import draw_spectra
from blocklearn.weights.atomic_write import replacing


class Representation(Evaluation):
    """Measures of the features themselves, on the test set, of every stage and feature: `rankme`,
    `lidar`, `effective_rank`, `participation_ratio`, `alpha`, `alignment`, `uniformity`,
    `feature_std` (of unit rows) and `plain_std`; of global averages also `cka_before` and
    `rbf_cka_before` (CKA with the stage before, linear and with Gaussian kernels), `knn` (accuracy
    in % at k = 20) and `knn_gain` (over the stage before). `docs/evaluation.md` says what each
    tells and where it misleads; a value that does not exist, as alpha with two dimensions, is left
    out.

    Ranks depend on the number of samples, alpha on its range: both stand in the results. `leave`
    writes `cka.png`, `cka.csv`, `spectra.png` and `spectra.csv`.

    Args:
        samples: evenly spaced over the test set, >= 4; all where there are fewer.
        lidar_samples: samples of LiDAR and of alignment, >= 2.
        views: augmented views of each of them, >= 2. 1000 samples of 50 views are published.
        alpha_first: number of the first eigenvalue that alpha is fitted to, >= 1.
        alpha_last: of the last, at least 2 more.
        cka_batch: samples per batch of unbiased minibatch CKA, >= 4, for pictures over many
            samples; null for plain linear CKA over all.
        rbf_fraction: width of RBF CKA's kernels as a fraction of the median distance, > 0.
        knn: whether nearest neighbors vote; it takes a pass over the training samples.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "representation"
    title: ClassVar[str] = "Representation"

    def __init__(
        self,
        samples: int = 2000,
        lidar_samples: int = 200,
        views: int = 8,
        alpha_first: int = 11,
        alpha_last: int = 100,
        cka_batch: int | None = None,
        rbf_fraction: float = 1.0,
        knn: bool = True,
    ) -> None:
        if samples < 4 or lidar_samples < 2 or views < 2 or not rbf_fraction > 0:
            raise ValueError(
                "Representation needs samples >= 4, lidar_samples >= 2, views >= 2 and a "
                f"rbf_fraction above 0, got {samples}, {lidar_samples}, {views} and {rbf_fraction}"
            )
        if not 1 <= alpha_first <= alpha_last - 2 or (cka_batch is not None and cka_batch < 4):
            raise ValueError(
                "Representation needs 1 <= alpha_first <= alpha_last - 2 and a cka_batch of at "
                f"least 4, got {alpha_first}, {alpha_last} and {cka_batch}"
            )
        self.samples, self.lidar_samples, self.views = samples, lidar_samples, views
        self.alpha_first, self.alpha_last = alpha_first, alpha_last
        self.cka_batch, self.rbf_fraction, self.knn = cka_batch, rbf_fraction, knn
        self._stages: list[str] = []
        self._cka: list[list[float]] = []
        self._spectra: dict[str, list[float]] = {}

    @property
    def main(self) -> str:
        return "rankme"

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data with a label per frame, and for features that are not finite, naming
                the stage.
        """
        require_sample_labels(data, "Representation")
        device = self.trainer().strategy.root_device
        specs = network.feature_specs()
        test = collect_features(network, data.test_dataloader(), device).columns
        chosen = evenly_spaced(len(test["label"]), self.samples)
        if len(chosen) < 4:
            raise UserError(
                f"evaluation: Representation needs at least 4 test samples, {data.title} has "
                f"{len(chosen)}"
            )
        found = {spec.key: test[spec.key][chosen] for spec in specs}
        views, _ = features_of_views(network, data, self.lidar_samples, self.views, device)
        for spec in specs:
            _require_finite(spec, found[spec.key], views[spec.key])
        stages = [spec for spec in specs if spec.kind == "raw"]
        self._look_at(stages, found)
        further = self._of_stages(stages, found, network, data)
        return [self._row(spec, found[spec.key], views[spec.key], further) for spec in specs]

    def leave(self, folder: Path) -> Sequence[Path]:
        """`cka.png`, a heat map of CKA between all stages, and `spectra.png`, the eigenvalues of
        each stage's covariance; their figures in `cka.csv` and `spectra.csv`."""
        kind = "Linear CKA" if self.cka_batch is None else "Minibatch CKA"
        last = self._cka[0][-1]
        cka = draw_heat_map(
            self._cka,
            self._stages,
            self._stages,
            folder / "cka.png",
            f"{kind} between stages",
            f"How alike the features of each two of {len(self._stages)} stages are, from 0 to 1; "
            f"the first and the last have {last:.2f}.",
        )
        table = write_matrix(folder / "cka.csv", self._cka, self._stages, self._stages)
        spectra = draw_spectra(
            self._spectra,
            folder / "spectra.png",
            "Eigenvalues of the features' covariance, by stage",
            f"The eigenvalues of {len(self._spectra)} stages over their number, in logarithms; a "
            "line that falls steeply uses few directions.",
        )
        values = folder / "spectra.csv"
        with replacing(values) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("stage", "number", "eigenvalue"))
            for stage, own in self._spectra.items():
                writer.writerows((stage, i, value) for i, value in enumerate(own, start=1))
        return [cka, spectra, table, values]

    def _look_at(self, stages: Sequence[FeatureSpec], found: Mapping[str, Tensor]) -> None:
        own = [found[spec.key] for spec in stages]
        self._stages = [spec.stage for spec in stages]
        self._cka = cka_matrix(own, own, self.cka_batch)
        self._spectra = {
            spec.stage: covariance_spectrum(found[spec.key]).tolist() for spec in stages
        }

    def _of_stages(
        self,
        stages: Sequence[FeatureSpec],
        found: Mapping[str, Tensor],
        network: BlockwiseModule,
        data: KeyedDataModule,
    ) -> dict[str, dict[str, float]]:
        """What compares a stage with the one before, by the key of its feature."""
        further: dict[str, dict[str, float]] = {spec.key: {} for spec in stages}
        for place in range(1, len(stages)):
            before, own = (found[spec.key] for spec in stages[place - 1 : place + 1])
            further[stages[place].key] |= {
                "cka_before": self._cka[place - 1][place],
                "rbf_cka_before": rbf_cka(before, own, self.rbf_fraction),
            }
        if not self.knn:
            return further
        neighbors = KNN(k=(20,))
        if self._make_trainer is not None:
            neighbors = neighbors.under(self.protocol, self._make_trainer)
        rows = {(row.stage, row.feature): row for row in neighbors.run(network, data)}
        accuracy = [rows[spec.stage, spec.kind].values["k20"] for spec in stages]
        for place, spec in enumerate(stages):
            further[spec.key]["knn"] = accuracy[place]
            if place:
                further[spec.key]["knn_gain"] = accuracy[place] - accuracy[place - 1]
        return further

    def _row(
        self,
        spec: FeatureSpec,
        features: Tensor,
        views: Tensor,
        further: Mapping[str, Mapping[str, float]],
    ) -> Row:
        power = alpha_req(features, self.alpha_first, self.alpha_last)
        sample = torch.arange(len(views)).repeat_interleave(views.shape[1])
        values = {
            "rankme": float(rank_me(features)),
            "lidar": lidar(views.flatten(0, 1), sample),
            "effective_rank": effective_rank(features),
            "participation_ratio": participation_ratio(features),
            "alpha": power.alpha,
            "alignment": alignment(views[:, 0], views[:, 1]),
            "uniformity": uniformity(features),
            "feature_std": feature_std(features),
            "plain_std": feature_std(features, unit_rows=False),
            **further.get(spec.key, {}),
        }
        how = {
            "dimensions": spec.width,
            "samples": len(features),
            "lidar_samples": len(views),
            "views": views.shape[1],
            "alpha_first": power.first,
            "alpha_last": power.last,
            **({} if math.isnan(power.r2) else {"alpha_r2": power.r2}),
        }
        there = {name: value for name, value in values.items() if math.isfinite(value)}
        return Row(spec.stage, spec.index, spec.kind, there, how)


def _require_finite(spec: FeatureSpec, *features: Tensor) -> None:
    if not all(bool(part.isfinite().all()) for part in features):
        raise UserError(
            f"evaluation: Representation: the features {spec.key} are not finite (NaN or "
            "infinity), nothing can be measured there or behind; take an earlier checkpoint with "
            "--model.checkpoint, or test in float32 with --trainer.precision 32-true"
        )
