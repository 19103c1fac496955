"""How much of what a network knows is left when its images are corrupted."""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.evenly_spaced import evenly_spaced
from blocklearn.data.images.corruptions import COUNTED, SEVERITIES, require_known
from blocklearn.data.images.corruptions.corrupted_images import (
    Case,
    CorruptedImages,
    ReadyImages,
)
from blocklearn.data.images.corruptions.plain_pixels import PlainPixels, centre_crop
from blocklearn.data.images.corruptions.ready_made import class_names, ready_files
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import collect_features, feature_loader
from blocklearn.evaluation.corruption_error import summarised
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import check_samples
from blocklearn.evaluation.linear_probe import LinearClassifiers, prepare_evaluation
from blocklearn.evaluation.tracked import tracked
from blocklearn.pictures.corruption_sheet import draw_corruptions
from blocklearn.pictures.error_by_corruption import draw_errors
from blocklearn.weights.atomic_write import replacing

CLEAN: Case = ("clean", 0)
IMAGENET_CLASSES, IMAGENET_NAMES = 1000, ("imagenet", "ilsvrc")


class Robustness(Evaluation):
    """Top-1 error on corrupted test images (ImageNet-C, arXiv 1903.12261) of the linear probe on
    every feature. The probes learn on clean training images under the probe's protocol and are
    tested on every corruption at every severity; images are corrupted as the network would see
    them, resized and cropped, before they are normalised.

    The values are errors in %: see `corruption_error.summarised`.

    Args:
        corruptions: names, as ImageNet-C has them; the 15 by default.
        severities: each 1 to 5.
        samples: at most so many test images, evenly spaced over the test set; null for all.
        folder: of files made beforehand, `FOLDER/CORRUPTION/SEVERITY/CLASS/IMAGE`, as ImageNet-C
            ships; they are cropped in the middle and not resized. Null to corrupt on the fly.
        seed: of the corruptions; the run's does not matter, so that runs are tested on the same
            images.

    Raises:
        ValueError: for a value out of range, or a name that is not known, with the nearest that is.
    """

    kind: ClassVar[str] = "robustness"
    title: ClassVar[str] = "Errors under corruption"
    unit: ClassVar[str] = "error in %"
    higher_is_better: ClassVar[bool] = False

    def __init__(
        self,
        corruptions: Sequence[str] = COUNTED,
        severities: Sequence[int] = SEVERITIES,
        samples: int | None = None,
        folder: str | None = None,
        seed: int = 0,
    ) -> None:
        if not corruptions or not severities or not set(severities) <= set(SEVERITIES):
            raise ValueError(
                "Robustness needs at least one corruption and at least one severity of 1 to 5, got "
                f"{list(corruptions)} and {list(severities)}"
            )
        if samples is not None and samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        require_known(tuple(corruptions))
        self.corruptions = tuple(dict.fromkeys(corruptions))
        self.severities = tuple(sorted(set(severities)))
        self.samples, self.folder, self.seed = samples, folder, seed
        self._errors: dict[str, dict[Case, float]] = {}
        self._rows: list[Row] = []
        self._sheet: Tensor | None = None

    @property
    def main(self) -> str:
        return "mean"

    @property
    def cases(self) -> list[Case]:
        """(corruption, severity), in order."""
        return [(name, severity) for name in self.corruptions for severity in self.severities]

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for data other than images, and a folder that lacks something.
        """
        plain = PlainPixels(data)
        loaders = self._loaders(data, plain)  # before the probes: a missing folder is told at once
        probe = self._trained_probe(network, data)
        counted = self._count(probe, plain, data, loaders)
        imagenet = data.num_classes == IMAGENET_CLASSES and any(
            name in data.title.lower() for name in IMAGENET_NAMES
        )
        how = {"lr": self.protocol.lr, "epochs": self.protocol.epochs}
        self._errors, self._rows = {}, []
        for number, spec in enumerate(probe.features):
            errors = {case: float(wrong[number]) for case, wrong in counted.items()}
            self._errors[spec.key] = errors
            corrupted = {case: errors[case] for case in self.cases}
            values = summarised(errors[CLEAN], corrupted, imagenet)
            self._rows.append(Row(spec.stage, spec.index, spec.kind, values, how))
        return self._rows

    def leave(self, folder: Path) -> list[Path]:
        """`robustness.csv`, every corruption and severity; `robustness.png`, the error by
        corruption; `corruptions.png`, one test image under all of them."""
        table = folder / "robustness.csv"
        with replacing(table) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["corruption", "severity", "stage", "index", "feature", "error"])
            for row in self._rows:
                for (name, severity), error in self._errors[f"{row.stage}/{row.feature}"].items():
                    place = (row.stage, row.index, row.feature)
                    writer.writerow([name, severity, *place, f"{error:.4f}"])
        lines = {
            (row.stage, row.feature): [row.values[name] for name in ("clean", *self.corruptions)]
            for row in self._rows
        }
        left = [table, draw_errors(("clean", *self.corruptions), lines, folder / "robustness.png")]
        if self._sheet is not None:
            shape = (len(self.corruptions), len(self.severities))
            images = self._sheet[1:].unflatten(0, shape).numpy()
            clean, path = self._sheet[0].numpy(), folder / "corruptions.png"
            left.append(draw_corruptions(clean, images, self.corruptions, self.severities, path))
        return left

    def _trained_probe(self, network: BlockwiseModule, data: KeyedDataModule) -> LinearClassifiers:
        """As `run_linear_probe` trains them."""
        settings, trainer = self.protocol, self.trainer(self.protocol.epochs)
        prepare_evaluation(data, settings, trainer)
        check_samples(data)
        probe = LinearClassifiers(network, data.num_classes, settings)
        images = data.probe_dataloader(
            settings.batch_size, settings.augment, settings.labelled_part
        )
        device = trainer.strategy.root_device
        if not settings.augment:
            known = collect_features(network, images, device)
            images = feature_loader(known, settings.batch_size)
        trainer.fit(probe, train_dataloaders=images)
        return probe.to(device).eval()

    def _loaders(
        self, data: KeyedDataModule, plain: PlainPixels
    ) -> list[tuple[list[Case], DataLoader[Batch]]]:
        """Batches of images, each in as many cases as are named beside them."""
        samples = data.test_samples()
        positions = evenly_spaced(len(samples), self.samples)

        def loader(dataset: Any, cases: int) -> DataLoader[Batch]:
            size = max(1, data.batch_size // cases)
            return DataLoader(dataset, batch_size=size, num_workers=data.num_workers)

        made = [] if self.folder else self.cases
        images = CorruptedImages(samples, positions, plain, made, self.seed, data.max_corrupt)
        loaders = [([CLEAN, *made], loader(images, 1 + len(made)))]
        if self.folder is None:
            return loaders
        folder, known = Path(self.folder), getattr(data, "classes", None)
        if not folder.is_dir():
            raise UserError(f"evaluation.folder: {folder} is not there")
        classes = class_names(folder, self.cases[0], known, data.num_classes)
        crop = partial(centre_crop, size=plain.size)
        for case in self.cases:
            files = ready_files(folder, case, classes)
            ready = ReadyImages(
                files, evenly_spaced(len(files), self.samples), crop, data.max_corrupt
            )
            loaders.append(([case], loader(ready, 1)))
        return loaders

    @torch.no_grad()
    def _count(
        self,
        probe: LinearClassifiers,
        plain: PlainPixels,
        data: KeyedDataModule,
        loaders: Sequence[tuple[list[Case], DataLoader[Batch]]],
    ) -> dict[Case, Tensor]:
        """Error in % by case, `(features,)` each."""
        found: dict[Case, Tensor] = {}
        firsts = []
        for cases, batches in _tracked(loaders):
            wrong, count = torch.zeros(len(cases), len(probe.features)), 0
            for batch in batches:
                pixels, label = batch.views[0], batch.label
                if count == 0:
                    firsts.append(pixels[0])
                count += len(label)
                labels = label[:, None].expand(-1, len(cases)).reshape(-1)
                missed = self._missed(probe, plain, pixels.flatten(0, 1), labels, data.batch_size)
                wrong += missed.unflatten(0, (len(label), len(cases))).sum(0)
            found |= {case: 100 * part / count for case, part in zip(cases, wrong, strict=True)}
        self._sheet = torch.cat(firsts)
        return found

    def _missed(
        self,
        probe: LinearClassifiers,
        plain: PlainPixels,
        pixels: Tensor,
        label: Tensor,
        batch_size: int,
    ) -> Tensor:
        """`(N, features)`, 1 where the class is another."""
        missed = []
        for part, labels in zip(pixels.split(batch_size), label.split(batch_size), strict=True):
            views = plain.views(part.to(probe.device))
            logits = probe(Batch([views], labels, labels))
            predicted = torch.stack([values.argmax(1) for values in logits], 1).cpu()
            missed.append((predicted != labels[:, None]).float())
        return torch.cat(missed)


def _tracked(
    loaders: Sequence[tuple[list[Case], DataLoader[Batch]]],
) -> Iterator[tuple[list[Case], Any]]:
    """With a bar: over batches where there is one loader, else over loaders as well."""
    for number, (cases, batches) in enumerate(loaders):
        told = f"Corrupted images, part {number + 1} of {len(loaders)}"
        yield cases, tracked(told, batches)
