"""One linear classifier per feature of a frozen network."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.features import FeatureSpec
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.evaluation.evaluation import Row
from blocklearn.evaluation.labels_check import check_features
from blocklearn.evaluation.probe_settings import ProbeSettings


class LinearClassifiers(LightningModule):
    """One linear classifier per feature on a frozen network in eval mode, without noise. The
    classifiers share the forward pass and nothing else: the summed loss gives each the gradient it
    would have alone.

    Args:
        network: what is probed; it is never changed.
        num_classes: of the labels.
        settings: how the probes are trained.
        kinds: of features; null for the default (`blocklearn.blocks.features`).

    Batches are `Batch`es of images in one view, or mappings `{"label": (B,), FEATURE: (B, D)}` of
    cached features.
    """

    by_frame: ClassVar[bool] = False  # only features with a value per position

    def __init__(
        self,
        network: BlockwiseModule,
        num_classes: int,
        settings: ProbeSettings,
        kinds: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval()
        self.settings = settings
        self.kinds = kinds
        self.features = network.feature_specs(self.by_frame, kinds)
        self.classifiers = nn.ModuleList(
            self._classifier(spec.width, num_classes) for spec in self.features
        )
        self.top1 = nn.ModuleList(
            MulticlassAccuracy(num_classes, average="micro") for _ in self.features
        )
        top_k = min(5, num_classes)
        self.top5 = nn.ModuleList(
            MulticlassAccuracy(num_classes, top_k, average="micro") for _ in self.features
        )

    def train(self, mode: bool = True) -> "LinearClassifiers":
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, batch: Batch | Mapping[str, Tensor]) -> list[Tensor]:
        """Logits, `(B, num_classes)` for each feature."""
        return self._classify(self.labelled_features(batch)[0])

    def labelled_features(self, batch: Batch | Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        """One `(B, width)` a feature, without graph, and labels `(B,)`."""
        if not isinstance(batch, Batch):
            return [batch[spec.key] for spec in self.features], batch["label"]
        with torch.no_grad():
            return list(self.network.stage_features(batch.views[0], self.kinds)), batch.label

    def training_step(self, batch: Batch | Mapping[str, Tensor], batch_idx: int) -> Tensor:
        features, label = self.labelled_features(batch)
        if batch_idx == 0:
            self.check(features)
        losses = [cross_entropy(logits, label) for logits in self._classify(features)]
        self.log(
            "probe/loss", torch.stack(losses).detach().mean(), prog_bar=True, batch_size=len(label)
        )
        return torch.stack(losses).sum()

    def test_step(self, batch: Batch | Mapping[str, Tensor], batch_idx: int) -> None:
        features, label = self.labelled_features(batch)
        for logits, top1, top5 in zip(self._classify(features), self.top1, self.top5, strict=True):
            top1.update(logits, label)  # pyright: ignore[reportCallIssue]
            top5.update(logits, label)  # pyright: ignore[reportCallIssue]

    def on_test_epoch_end(self) -> None:
        for row in self.rows():
            for kind, value in row.values.items():
                self.log(f"probe/{row.stage}/{row.feature}/{kind}", value)

    def rows(self) -> list[Row]:
        """The results of the last test."""
        return [
            accuracy_row(spec, spec.kind, top1, top5, self.settings)
            for spec, top1, top5 in zip(self.features, self.top1, self.top5, strict=True)
        ]

    def configure_optimizers(self) -> Any:
        return self.settings.configure(self.classifiers.parameters())

    def check(self, features: list[Tensor]) -> None:
        """Of one batch an epoch."""
        keys = [spec.key for spec in self.features]
        columns = dict(zip(keys, features, strict=True))
        check_features("a batch", "training", columns, keys)

    def _classify(self, features: list[Tensor]) -> list[Tensor]:
        return [
            classifier(value) for classifier, value in zip(self.classifiers, features, strict=True)
        ]

    def _classifier(self, width: int, num_classes: int) -> nn.Module:
        linear = linear_classifier(width, num_classes)
        return (
            nn.Sequential(nn.BatchNorm1d(width, affine=False), linear)
            if self.settings.standardise
            else linear
        )


def accuracy_row(
    spec: FeatureSpec, feature: str, top1: Any, top5: Any, settings: ProbeSettings
) -> Row:
    """Accuracies in percent: `top1`, and `top5`, for the five likeliest classes, where there are
    more than five."""
    measured = {"top1": top1, "top5": top5} if top5.num_classes > 5 else {"top1": top1}
    values = {name: 100 * float(metric.compute()) for name, metric in measured.items()}
    how = {"lr": settings.lr, "epochs": settings.epochs}
    return Row(spec.stage, spec.index, feature, values, how)


def linear_classifier(width: int, num_classes: int) -> nn.Linear:
    """`(B, width)` to `(B, num_classes)`; weights N(0, 0.01), bias 0, as published."""
    linear = nn.Linear(width, num_classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


def prepare_evaluation(data: KeyedDataModule, settings: ProbeSettings, trainer: Trainer) -> None:
    """Make the data ready, for a trainer that runs as long as the learning rates take to come down.

    Raises:
        ValueError: where the trainer's `max_epochs` is not `settings.epochs`.
    """
    if trainer.max_epochs != settings.epochs:
        raise ValueError(
            f"the trainer's max_epochs is {trainer.max_epochs}, the probe's epochs are "
            f"{settings.epochs}"
        )
    data.prepare_data()
    data.setup("test")
