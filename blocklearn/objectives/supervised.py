"""Supervised local learning: a linear classifier on the block's own features."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.errors import UserError
from blocklearn.heads.pooling import GlobalPooling, Pooling
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published


class Supervised(Objective):
    """Cross-entropy of a linear classifier on the pooled features (the local prediction loss of
    arXiv 1901.06656).

    The views pass the pooling one after the other and the loss is the mean over samples and views;
    any number of views will do. Over several processes it is the mean over all samples.

    Metrics:
        accuracy: share of samples and views, in [0, 1], whose label is the likeliest class.

    Args:
        spec: the block's last stage.
        num_classes: labels are 0 to `num_classes - 1`, all samples labelled.
        pooling: builds the pooling from the `StageSpec`.
        label_smoothing: probability mass spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: for a value out of range.
    """

    labels = "sample"

    def __init__(
        self,
        spec: StageSpec,
        num_classes: int,
        pooling: Callable[[StageSpec], Pooling] = GlobalPooling,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if num_classes < 2 or not 0 <= label_smoothing < 1:
            raise ValueError(
                "Supervised needs num_classes >= 2 and 0 <= label_smoothing < 1, got "
                f"num_classes={num_classes}, label_smoothing={label_smoothing}"
            )
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.pooling = pooling(spec)
        self.classifier = nn.Linear(self.pooling.out_features, num_classes)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss.

        Raises:
            UserError: for labels out of range, on every process where one of them has such.
        """
        pooled = [self.pooling(view) for view in local.features]
        logits = torch.cat([self.classifier(vector) for vector in pooled])
        label = local.batch.label.repeat(len(local.features))
        known = (label >= 0) & (label < self.num_classes)
        with torch.autocast(logits.device.type, enabled=False):
            logits, target = at_least_float32(logits), label.clamp(0, self.num_classes - 1)
            loss = cross_entropy(
                logits, target, reduction="sum", label_smoothing=self.label_smoothing
            )
            right = (logits.detach().argmax(dim=1) == label).sum()
            sums = torch.stack(
                [loss, right, known.sum(), known.new_full((), len(label), dtype=torch.int64)]
            )
            loss, right, num_known, count = sum_over_processes(sums).unbind()
        if num_known < count:
            unknown = int(count - num_known) // len(local.features)
            raise UserError(
                f"Supervised: {unknown} samples of this batch have labels outside 0 to "
                f"{self.num_classes - 1} (-1: no label); take labelled data, or set num_classes to "
                "its number of classes"
            )
        return ObjectiveOutput(loss / count.detach(), {"accuracy": (right / count).detach()})

    def published(self) -> Sequence[Published]:
        return [Published("head", self.pooling.out_features, self.pooling, self.pooling)]

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse a map that the pooling can make nothing of; reported before training. Any number
        of views will do."""
        self.pooling.require(features)
