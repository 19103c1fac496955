"""Supervised local learning of a label for every frame of a sound."""

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool1d, cross_entropy

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.errors import UserError
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput


class FrameSupervised(Objective):
    """Cross-entropy of a linear classifier on every frame: the supervised phone baseline of Greedy
    InfoMax (arXiv 1905.11786, released code). Features are averaged to as many positions as there
    are labels. The loss is the mean over the frames that have a label, of all views and processes.

    Metrics:
        accuracy: share of those frames, in [0, 1], whose label is the likeliest class.

    Args:
        spec: the block's last stage, in the layout `NCL`.
        num_classes: labels are 0 to `num_classes - 1`, and -1 for none.

    Raises:
        ValueError: for fewer than 2 classes.
        UserError: for features that are no sound; for a label above `num_classes - 1`.
    """

    labels = "frame"

    def __init__(self, spec: StageSpec, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"FrameSupervised needs num_classes >= 2, got {num_classes}")
        if not spec.layout.is_sound:
            raise UserError(
                f"FrameSupervised learns from sound, {spec.name} makes maps: take Supervised"
            )
        self.num_classes = num_classes
        self.classifier = nn.Linear(spec.channels, num_classes)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """One view or more, each `(B, C, T)`; labels `(B, W)`."""
        count = local.batch.label.shape[1]
        frames = torch.cat(
            [
                adaptive_avg_pool1d(view, count).transpose(1, 2).flatten(0, 1)
                for view in local.features
            ]
        )
        label = local.batch.label.flatten().repeat(len(local.features))
        logits = self.classifier(frames)
        with torch.autocast(logits.device.type, enabled=False):
            target = label.clamp(max=self.num_classes - 1)
            loss = cross_entropy(at_least_float32(logits), target, ignore_index=-1, reduction="sum")
            right = (logits.detach().argmax(dim=1) == label).sum()
            sums = torch.stack([loss, right, (label >= 0).sum(), (label >= self.num_classes).sum()])
            loss, right, known, wrong = sum_over_processes(sums).unbind()
        if wrong > 0:
            raise UserError(
                f"FrameSupervised: {int(wrong)} frames have labels above {self.num_classes - 1}; "
                "set num_classes to the data's number of classes"
            )
        known = known.detach().clamp(min=1)
        return ObjectiveOutput(loss / known, {"accuracy": (right / known).detach()})
