"""Low-level probes: what of a drifting grating can be told from each stage."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import collect_features
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.gratings import Gratings
from blocklearn.evaluation.labels_check import check_features
from blocklearn.evaluation.seen_pixels import SeenPixels
from blocklearn.evaluation.tracked import tracked
from blocklearn.pictures.image_sheet import draw_sheet
from blocklearn.pictures.lines_by_stage import draw_lines_by_stage

TITLE = "drifting gratings"
PENALTIES = 10.0 ** np.arange(-4, 7)  # of ridge regression on features of mean variance 1
SHOWN, FRAMES = 6, 8  # gratings of the sheet, and frames of each at most


class DriftingGratings(Evaluation):
    """Sine gratings are shown to the network, and each of their attributes is predicted from the
    features of each stage by ridge regression: the values are R² on held-out gratings, 1 for what
    is told exactly and 0 for what is not told at all, and their `mean`. The data's samples and
    labels have no part in it, only its image size, mean and standard deviation.

    arXiv 2601.09040 decodes five attributes of drifting gratings in 3-fold cross-validation, and
    which they are, their ranges and the decoder are our choice: orientation, spatial frequency,
    temporal frequency, contrast and phase, drawn independently of each other (ranges:
    `gratings.Gratings.draw`). Images stand still, so that they have no temporal frequency. What
    comes round, orientation and phase, is predicted as cosine and sine, whose R² are averaged.
    Regression needs no bins, and R² is on one scale for all attributes. The penalty of each target
    is chosen on the training folds alone, by leaving one grating out. Features are centred and
    divided by one number, not each by its own standard deviation: a unit that hardly ever fires
    would be blown up.

    `leave` writes `attributes.png`, R² by stage with a line an attribute, and `gratings.png`, a few
    gratings.

    Args:
        samples: gratings, drawn with the data's seed, at least two for each fold.
        folds: of the cross-validation, >= 2.
        batch_size: gratings at a time, >= 1.
        features: kinds of features, of `raw`, `head`, `context`, `projector` and
            `concatenated`; null for `raw` and what objectives publish.

    Raises:
        ValueError: for a value out of range.
    """

    kind: ClassVar[str] = "gratings"
    title: ClassVar[str] = "Low-level probes"
    learns: ClassVar[bool] = False
    unit: ClassVar[str] = "R²"

    def __init__(
        self,
        samples: int = 2000,
        folds: int = 3,
        batch_size: int = 32,
        features: Sequence[str] | None = None,
    ) -> None:
        if folds < 2 or samples < 2 * folds or batch_size < 1:
            raise ValueError(
                "DriftingGratings needs folds >= 2, two samples for each, and a batch_size of at "
                f"least 1, got {folds}, {samples} and {batch_size}"
            )
        self.samples, self.folds, self.batch_size = samples, folds, batch_size
        self.features = features
        self._rows: list[Row] = []
        self._shown: tuple[Gratings, np.ndarray] | None = None

    @property
    def main(self) -> str:
        return "mean"

    def dataset(self, data: KeyedDataModule) -> str:
        return TITLE

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for a network of sound, and for features that are not finite.
        """
        shape = _shape(network, data)
        size, frames = shape[-1], shape[1] if len(shape) == 4 else 1
        gratings = Gratings.draw(self.samples, size, frames, data.keying_seed())
        few = gratings.at(slice(SHOWN))
        self._shown = few, few.luminance(size, frames).numpy()
        specs = network.feature_specs(kinds=self.features)
        pixels = SeenPixels(data, shape[0], "DriftingGratings")
        batches = GratingBatches(gratings, shape, pixels, self.batch_size)
        device = self.trainer().strategy.root_device
        found = collect_features(network, batches, device, self.features).columns
        check_features(TITLE, "test", found, [spec.key for spec in specs])
        self._rows = [
            Row(spec.stage, spec.index, spec.kind, self.scores(found[spec.key], gratings.targets()))
            for spec in tracked("Probing", specs)
        ]
        return self._rows

    def scores(self, features: Tensor, targets: Mapping[str, Tensor]) -> dict[str, float]:
        """R² by target, averaged over its columns and the folds, and their `mean`.

        Args:
            features: `(N, D)`.
            targets: `(N, columns)` each.
        """
        columns = torch.cat(list(targets.values()), dim=1).numpy()
        found = cross_validated_r2(features.double().numpy(), columns, self.folds)
        of_target = np.split(found, np.cumsum([part.shape[1] for part in targets.values()])[:-1])
        values = {name: float(own.mean()) for name, own in zip(targets, of_target, strict=True)}
        return {"mean": float(np.mean(list(values.values()))), **values}

    def leave(self, folder: Path) -> Sequence[Path]:
        assert self._shown is not None
        gratings, clips = self._shown
        length = clips.shape[1]
        frames = evenly_spaced(length, FRAMES)
        sheet = draw_sheet(
            [[np.repeat(clip[n][..., None], 3, axis=-1) for n in frames] for clip in clips],
            folder / "gratings.png",
            f"{len(gratings)} of {self.samples} gratings",
            f"{len(gratings)} sine gratings of different attributes, a line each: "
            + "; ".join(gratings.told(n).replace("\n", ", ") for n in range(len(gratings))),
            [gratings.told(number) for number in range(len(gratings))],
            [] if length == 1 else [f"frame {n + 1}" for n in frames],
        )
        return [self._draw_attributes(folder / "attributes.png"), sheet]

    def _draw_attributes(self, path: Path) -> Path:
        panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
        for row in self._rows:
            lines = panels.setdefault(row.feature, {})
            for name, value in row.values.items():
                if name != "mean":
                    lines.setdefault(name.replace("_", " "), []).append((row.index, value))
        stages = {row.index: row.stage for row in self._rows}
        title = f"{self.title} on {TITLE}"
        return draw_lines_by_stage(panels, stages, path, title, self.unit)


class GratingBatches:
    """Batches of gratings as a network sees them, `(B, C, S, S)` or clips `(B, C, T, S, S)`; their
    labels are 0.

    Args:
        gratings: to show.
        shape: of one view.
        pixels: as the network sees them.
        batch_size: gratings at a time.
    """

    def __init__(
        self,
        gratings: Gratings,
        shape: Sequence[int],
        pixels: SeenPixels,
        batch_size: int,
    ) -> None:
        self.gratings, self.shape = gratings, tuple(shape)
        self.pixels, self.batch_size = pixels, batch_size

    def __len__(self) -> int:
        return -(-len(self.gratings) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for begin in range(0, len(self.gratings), self.batch_size):
            some = self.gratings.at(slice(begin, begin + self.batch_size))
            index = torch.arange(begin, begin + len(some))
            yield Batch([self._views(some)], torch.zeros_like(index), index)

    def _views(self, gratings: Gratings) -> Tensor:
        channels, *times, size = self.shape[:-1]
        frames = gratings.luminance(size, times[0] if times else 1)
        # (B, T, C, S, S): a frame is normalised as an image is
        views = self.pixels.views(frames[:, :, None].repeat(1, 1, channels, 1, 1))
        return views.transpose(1, 2).contiguous() if times else views[:, 0]


def cross_validated_r2(features: Any, targets: Any, folds: int) -> np.ndarray:
    """R² of ridge regression on gratings that it has not seen, `(columns,)`, the mean over the
    folds, which are consecutive stretches.

    Args:
        features: `(N, D)`; centred and brought to a mean variance of 1 here, over the training
            folds.
        targets: `(N, columns)`; each has a penalty of its own, chosen by leaving one training
            sample out.
        folds: of the cross-validation.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold

    found = []
    for learned, held in KFold(folds).split(features):
        known = features[learned]
        mean, scale = known.mean(axis=0), np.sqrt(known.var(axis=0).mean()) or 1.0
        model = RidgeCV(PENALTIES, alpha_per_target=True)
        model.fit((known - mean) / scale, targets[learned])
        told = model.predict((features[held] - mean) / scale)
        found.append(r2_score(targets[held], told, multioutput="raw_values"))
    return np.mean(found, axis=0)


def _shape(network: BlockwiseModule, data: KeyedDataModule) -> tuple[int, ...]:
    """Of a view: what the network insists on, or else what the data makes."""
    if network.input_spec.kind == "sound":
        raise UserError(
            "evaluation: DriftingGratings shows images or clips, and this network takes sound; "
            "choose another --evaluation"
        )
    for spec in (network.input_spec, data.input_spec):
        if spec is not None and spec.shape is not None:
            return spec.shape
    raise UserError(
        f"evaluation: DriftingGratings: neither the network nor {data.title} says how large an "
        "image is; choose data with --data.image_size"
    )
