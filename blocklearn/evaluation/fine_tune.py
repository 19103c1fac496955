"""Fine-tuning: the backbone trained on with labels, end to end, under a linear classifier."""

import math
from typing import Any, ClassVar

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

from blocklearn.batch import Batch
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.without_objectives import bare_network
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation.evaluation import Evaluation, Row
from blocklearn.evaluation.labels_check import check_samples, require_sample_labels
from blocklearn.evaluation.linear_classifiers import (
    accuracy_row,
    linear_classifier,
    prepare_evaluation,
)
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.weights.external import load_backbone


class TunedNetwork(LightningModule):
    """A copy of a network's backbone under a linear classifier on the last stage's global average,
    trained together by one loss, BatchNorms in training mode (the semi-supervised evaluation of
    arXiv 2103.03230); `backbone_lr` is the peak rate of the backbone and `lr` that of the
    classifier.

    Args:
        network: where the backbone starts from; it is never changed.
        num_classes: of the labels.
        settings: how it is trained.
        backbone_lr: peak learning rate of the backbone.

    Batches are `Batch`es of images in one view.
    """

    def __init__(
        self,
        network: BlockwiseModule,
        num_classes: int,
        settings: ProbeSettings,
        backbone_lr: float = 0.005,
    ) -> None:
        super().__init__()
        self.backbone_lr = backbone_lr
        self.settings = settings
        self.network = bare_network(network.structure)
        load_backbone(
            network.backbone_state_dict(), self.network.backbone_state_dict(), "the network"
        )
        self.feature = self.network.feature_specs()[-1]
        self.classifier = linear_classifier(self.feature.width, num_classes)
        self.top1 = MulticlassAccuracy(num_classes, average="micro")
        self.top5 = MulticlassAccuracy(num_classes, min(5, num_classes), average="micro")

    def forward(self, batch: Batch) -> Tensor:
        """Logits, `(B, num_classes)`, with the whole graph."""
        *_, feature = self.network.stage_features(batch.views[0])
        return self.classifier(feature)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = cross_entropy(self(batch), batch.label)
        self.log("probe/loss", loss.detach(), prog_bar=True, batch_size=len(batch.label))
        return loss

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(batch)
        self.top1.update(logits, batch.label)
        self.top5.update(logits, batch.label)

    def on_test_epoch_end(self) -> None:
        row = self.row()
        for kind, value in row.values.items():
            self.log(f"probe/{row.stage}/{row.feature}/{kind}", value)

    def row(self) -> Row:
        """The result of the last test."""
        return accuracy_row(self.feature, "finetuned", self.top1, self.top5, self.settings)

    def configure_optimizers(self) -> Any:
        settings = self.settings
        groups = [
            {"params": list(self.network.parameters()), "lr": self.backbone_lr},
            {"params": list(self.classifier.parameters()), "lr": settings.lr},
        ]
        return settings.configure(groups)


def run_fine_tune(
    network: BlockwiseModule,
    data: KeyedDataModule,
    settings: ProbeSettings,
    trainer: Trainer,
    backbone_lr: float = 0.005,
) -> list[Row]:
    """Fine-tune a copy of the network's backbone on labelled images and test it; one row.

    Args:
        network: where the backbone starts from; it is never changed.
        data: labelled images to train and to test on.
        settings: how it is trained.
        trainer: its `max_epochs` must be `settings.epochs`.
        backbone_lr: peak learning rate of the backbone.

    Raises:
        ValueError: where it is not: the learning rates would not come down to 0.
        UserError: for data with a label per frame, and for labels that nothing can be learned from.
    """
    require_sample_labels(data, "FineTune")
    prepare_evaluation(data, settings, trainer)
    check_samples(data)
    tuned = TunedNetwork(network, data.num_classes, settings, backbone_lr)
    trainer.fit(
        tuned,
        train_dataloaders=data.probe_dataloader(settings.batch_size, True, settings.labelled_part),
    )
    trainer.test(tuned, dataloaders=data.test_dataloader(), verbose=False)
    return [tuned.row()]


class FineTune(Evaluation):
    """The backbone trained on with labels, end to end, under one classifier on the last stage: the
    semi-supervised evaluation of arXiv 2103.03230 where `labelled_part` is below 1. Images are
    always augmented and features never standardised, whatever the protocol says of frozen ones.

    Args:
        backbone_lr: peak learning rate of the backbone, > 0; `probe.lr` is the classifier's.

    Raises:
        ValueError: for a rate that is not positive and finite.
    """

    kind: ClassVar[str] = "finetune"
    title: ClassVar[str] = "Fine-tuning"
    unit: ClassVar[str] = "accuracy in %"

    def __init__(self, backbone_lr: float = 0.005) -> None:
        if not 0 < backbone_lr < math.inf:
            raise ValueError(f"FineTune needs a positive, finite backbone_lr, got {backbone_lr}")
        self.backbone_lr = backbone_lr

    def run(self, network: BlockwiseModule, data: KeyedDataModule) -> list[Row]:
        """
        Raises:
            UserError: for batches of one, and for data with a label per frame.
        """
        if self.protocol.batch_size < 2:
            raise UserError("probe: FineTune uses BatchNorm, so batch_size must be at least 2")
        trainer = self.trainer(self.protocol.epochs)
        return run_fine_tune(network, data, self.protocol, trainer, self.backbone_lr)
