"""Linear probes on every stage of a frozen network, trained together from one pass over the
data."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation.cached_features import feature_loader


@dataclass(frozen=True)
class ProbeSettings:
    """How a network is evaluated: by the linear evaluation of arXiv 2302.01647 by default. Greedy
    InfoMax (arXiv 1905.11786) takes Adam at a constant rate, without decay; from its released code
    three things differ here. Weights begin at N(0, 0.01) and biases at 0, there with PyTorch's
    default (images, speakers) or Xavier-normal (phones); all test samples count, there for speakers
    those of whole batches; and accuracy is taken over samples, there for images and speakers as the
    mean over batches.

    Attributes:
        epochs: passes over the labelled images.
        lr: peak learning rate.
        weight_decay: of the optimizer, added to the gradient.
        batch_size: labelled images a step. Where labels are frame by frame a step is one utterance,
            whatever this says.
        optimizer: `sgd` with momentum 0.9, or `adam`.
        lr_schedule: `cosine` to 0, per epoch, or `constant`.
        augment: train on random crops and flips; otherwise every image is seen as it is, its
            features are computed once and kept in memory.
        standardise: affine-free BatchNorm on the features, so that one learning rate suits every
            stage. Not published.
        labelled_part: part of the labelled images of each class that is trained on, in (0, 1]; the
            run's seed draws them. 0.01 and 0.1 are the semi-supervised evaluations of arXiv
            2103.03230.
        finetune: train the backbone too, end to end, under one classifier on the last stage
            (`FineTune`), in place of probes on frozen features.
        backbone_lr: peak learning rate of the backbone in fine-tuning; `lr` is the classifier's.

    Raises:
        UserError: for values out of range, fine-tuning without augmentation or with standardised
            features, or batches of one where BatchNorm needs two.
    """

    epochs: int = 100
    lr: float = 0.1
    weight_decay: float = 1e-6
    batch_size: int = 256
    augment: bool = True
    standardise: bool = False
    labelled_part: float = 1.0
    finetune: bool = False
    backbone_lr: float = 0.005
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr_schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        rates = 0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf
        if self.epochs < 1 or self.batch_size < 1 or not rates:
            raise UserError(
                "probe: epochs and batch_size must be at least 1, lr positive and weight_decay at "
                f"least 0, got {self.epochs}, {self.batch_size}, {self.lr} and {self.weight_decay}"
            )
        if self.batch_size < 2 and (self.standardise or self.finetune):
            raise UserError(
                "probe: standardise and finetune use BatchNorm, so batch_size must be at least 2"
            )
        if not 0 < self.labelled_part <= 1 or not 0 < self.backbone_lr < math.inf:
            raise UserError(
                "probe: labelled_part must lie above 0 and be at most 1, and backbone_lr be "
                f"positive, got {self.labelled_part} and {self.backbone_lr}"
            )
        if self.finetune and (self.standardise or not self.augment):
            raise UserError("probe: finetune needs augment true and standardise false")

    def title(self, target: str | None = None) -> str:
        """What the results are called in table and picture; `target` says which of several
        labellings was learnt."""
        kind = "Fine-tuning" if self.finetune else "Linear probes"
        kind += f" ({target})" if target else ""
        return (
            kind
            if self.labelled_part == 1
            else f"{kind} with {100 * self.labelled_part:.3g}% of the labels"
        )

    def name(self, target: str | None = None) -> str:
        """Of the folder of results: `probe`, and one of its own for fine-tuning, for every target
        and for every part of the labels: `probe_speaker`, `probe_0.1`, `finetune_digit_0.1`.
        Nothing else is in the name: of two protocols that agree in these, as two learning rates do,
        the later one replaces the earlier one's results."""
        kind = "finetune" if self.finetune else "probe"
        part = None if self.labelled_part == 1 else f"{self.labelled_part:g}"
        return "_".join(word for word in (kind, target, part) if word)

    def configure(self, parameters: Iterable[Any]) -> dict[str, Any]:
        """Optimizer and learning-rate schedule over parameters or groups of them, as Lightning
        takes them."""
        optimizer: torch.optim.Optimizer
        if self.optimizer == "adam":
            optimizer = torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        else:
            optimizer = torch.optim.SGD(
                parameters, self.lr, momentum=0.9, weight_decay=self.weight_decay
            )
        if self.lr_schedule == "constant":
            return {"optimizer": optimizer}
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


@dataclass(frozen=True)
class ProbeRow:
    """What one probe reached; accuracies in percent.

    Attributes:
        stage: name of the stage, e.g. `layer1`.
        index: its position, from 1.
        feature: `raw` (global average of the stage), `head` (output of the block's pooling),
            `context` (output of its context network), or `finetuned` (the global average under a
            backbone that was trained on).
        lr: the classifier's peak learning rate.
        epochs: how long it was trained.
        top1: accuracy on the test images.
        top5: the same, for the five likeliest classes (all of them where there are fewer).
    """

    stage: str
    index: int
    feature: str
    lr: float
    epochs: int
    top1: float
    top5: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class LinearProbe(LightningModule):
    """One linear classifier a feature on a frozen network in eval mode, without noise. The
    classifiers share the forward pass and nothing else: the summed loss gives each the gradient it
    would have alone.

    Args:
        network: what is probed; it is never changed.
        num_classes: of the labels.
        settings: how the probes are trained.

    Batches are `Batch`es of images in one view, or mappings `{"label": (B,), FEATURE: (B, D)}` of
    cached features.
    """

    def __init__(self, network: BlockwiseModule, num_classes: int, settings: ProbeSettings) -> None:
        super().__init__()
        self.network = network.eval()
        self.settings = settings
        self.features = network.feature_specs()
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

    def train(self, mode: bool = True) -> "LinearProbe":
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
            return list(self.network.stage_features(batch.views[0])), batch.label

    def training_step(self, batch: Batch | Mapping[str, Tensor], batch_idx: int) -> Tensor:
        features, label = self.labelled_features(batch)
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
            for kind, value in (("top1", row.top1), ("top5", row.top5)):
                self.log(f"probe/{row.stage}/{row.feature}/{kind}", value)

    def rows(self) -> list[ProbeRow]:
        """The results of the last test."""
        return [
            ProbeRow(
                spec.stage,
                spec.index,
                spec.kind,
                self.settings.lr,
                self.settings.epochs,
                top1=100 * float(top1.compute()),  # pyright: ignore[reportCallIssue]
                top5=100 * float(top5.compute()),  # pyright: ignore[reportCallIssue]
            )
            for spec, top1, top5 in zip(self.features, self.top1, self.top5, strict=True)
        ]

    def configure_optimizers(self) -> Any:
        return self.settings.configure(self.classifiers.parameters())

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


def linear_classifier(width: int, num_classes: int) -> nn.Linear:
    """`(B, width)` to `(B, num_classes)`; weights N(0, 0.01), bias 0, as published."""
    linear = nn.Linear(width, num_classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


def run_linear_probe(
    network: BlockwiseModule, data: KeyedDataModule, settings: ProbeSettings, trainer: Trainer
) -> list[ProbeRow]:
    """Train and test a probe on every feature of `network`.

    Args:
        network: what is probed.
        data: labelled images to train and to test on.
        settings: how the probes are trained.
        trainer: its `max_epochs` must be `settings.epochs`.

    Raises:
        ValueError: where it is not: the learning rate would not come down to 0.
    """
    prepare_evaluation(data, settings, trainer)
    probe = LinearProbe(network, data.num_classes, settings)
    images = data.probe_dataloader(settings.batch_size, settings.augment, settings.labelled_part)
    if settings.augment:
        train, test = images, data.test_dataloader()
    else:
        device = trainer.strategy.root_device
        train = feature_loader(network, images, settings.batch_size, device)
        test = feature_loader(
            network, data.test_dataloader(), settings.batch_size, device, shuffle=False
        )
    trainer.fit(probe, train_dataloaders=train)
    trainer.test(probe, dataloaders=test, verbose=False)
    return probe.rows()


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
