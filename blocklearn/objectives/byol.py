"""BYOL: predict what a slowly moving teacher makes of another view."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.errors import UserError
from blocklearn.heads.pooling import GlobalPooling, Pooling
from blocklearn.heads.projector import Projector
from blocklearn.heads.teacher import MovingAverage
from blocklearn.objectives.joint_embedding import width_of
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published
from blocklearn.training.contract import Clock


class BYOL(Objective):
    """Bootstrap your own latent (arXiv 2006.07733), block by block.

    The teacher is a moving average of the block's stages, pooling and projector. With `q` the
    student's prediction from view `v` and `z'` the teacher's projection of view `w`, the loss is
    `2 - 2 cos(q, z')` (eq. 2), over both orders of two views; of more views, twice the mean over
    all ordered pairs. No negatives; the mean is over the samples of all processes.

    The momentum rises from `momentum` to 1 over the run:
    `1 - (1 - momentum) (cos(pi step / total) + 1) / 2`.

    Metrics:
        teacher_similarity: mean cosine between prediction and teacher, in [-1, 1]; high is good,
            but collapse is at 1 too: watch the rank of the features beside it.

    Args:
        spec: the block's last stage.
        pooling: features to a vector; built from the `StageSpec`.
        projector: the MLP behind the pooling; built from the pooled width, `[4096, 256]` published.
        predictor: the MLP behind the projector; built from its width, `[4096, 256]` published.
        momentum: at the beginning, in [0, 1]; 0.996 published.
        feed_teacher: the teacher of block k + 1 gets the output of block k's teacher, so that the
            teachers are one network; otherwise it gets what the student gets. Not published.

    Raises:
        ValueError: for a momentum out of range.
        UserError: for fewer than two views; where teachers feed one another across a shared stage.
    """

    begun: Tensor

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = GlobalPooling,
        projector: Callable[[int], Projector] = lambda width: Projector(width, [4096, 256]),
        predictor: Callable[[int], Projector] = lambda width: Projector(width, [4096, 256]),
        momentum: float = 0.996,
        feed_teacher: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"BYOL needs a momentum in [0, 1], got {momentum}")
        self.momentum, self.feed_teacher = momentum, feed_teacher
        self.pooling = pooling(spec)
        self.projector = projector(self.pooling.out_features)
        self.predictor = predictor(width_of(self.projector, self.pooling.out_features))
        self.register_buffer("begun", torch.tensor(False))
        self._stages: tuple[nn.Module, ...] = ()
        self._has_begun = False

    def bind(self, stages: Sequence[nn.Module]) -> None:
        self._stages = tuple(stages)
        self.teacher_stages = MovingAverage(nn.Sequential(*stages))
        self.teacher_head = MovingAverage(nn.Sequential(self.pooling, self.projector))

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss."""
        self._require_views(len(local.features))
        self._begin()
        taught = self._teach(local)
        targets = [self.teacher_head(features) for features in taught]
        guesses = [self.predictor(self.projector(self.pooling(f))) for f in local.features]
        with torch.autocast(guesses[0].device.type, enabled=False):
            cosines = [
                cosine_similarity(at_least_float32(guesses[v]), at_least_float32(targets[w]), dim=1)
                for v, w in permutations(range(len(guesses)), 2)
            ]
            every = torch.cat(cosines)
            count = every.new_tensor(len(every))
            total, count = sum_over_processes(torch.stack([every.sum(), count])).unbind()
            cosine = total / count.detach()
        extras = {"teacher": taught} if self.feed_teacher else {}
        return ObjectiveOutput(4 - 4 * cosine, {"teacher_similarity": cosine.detach()}, extras)

    def after_update(self, clock: Clock) -> None:
        part = (math.cos(math.pi * clock.step / max(clock.total, 1)) + 1) / 2
        momentum = 1 - (1 - self.momentum) * part
        self.teacher_stages.follow(nn.Sequential(*self._stages), momentum)
        self.teacher_head.follow(nn.Sequential(self.pooling, self.projector), momentum)

    def hand_on(self, local: LocalBatch) -> Mapping[str, Any]:
        return {"teacher": self._teach(local)} if self.feed_teacher else {}

    def published(self) -> Sequence[Published]:
        return [Published("head", self.pooling.out_features, self.pooling, self.pooling)]

    def further(self) -> Sequence[Published]:
        width = width_of(self.projector, self.pooling.out_features)
        whole = nn.Sequential(self.pooling, self.projector)
        return [Published("projector", width, self.projector, whole)]

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse a single view, and a map that the pooling can make nothing of."""
        self._require_views(num_views)
        self.pooling.require(features)

    def _begin(self) -> None:
        """As a copy of the student, whatever weights were loaded into it since it was built."""
        if self._has_begun or not self.training:
            return
        if not bool(self.begun):
            self.teacher_stages.begin_as(nn.Sequential(*self._stages))
            self.teacher_head.begin_as(nn.Sequential(self.pooling, self.projector))
            self.begun.fill_(True)
        self._has_begun = True  # so that a device is asked once

    def _teach(self, local: LocalBatch) -> list[Tensor]:
        """What the teacher's stages make of every view."""
        inputs = local.received.get("teacher", local.inputs) if self.feed_teacher else local.inputs
        if inputs and inputs[0].shape != local.inputs[0].shape:
            raise UserError(
                "BYOL: with feed_teacher blocks must not share stages; set it to false, or take "
                "blocks that do not overlap"
            )
        return [self.teacher_stages(view) for view in inputs]

    @staticmethod
    def _require_views(num_views: int) -> None:
        if num_views < 2:
            raise UserError(
                f"BYOL compares two views or more, the data recipe makes {num_views}: change "
                "--data.recipe or --model.objective"
            )

    def extra_repr(self) -> str:
        return f"momentum={self.momentum}, feed_teacher={self.feed_teacher}"
