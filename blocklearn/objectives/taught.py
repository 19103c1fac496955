"""What objectives with a teacher share: a moving average of the block, and when it follows."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError
from blocklearn.heads.pooling import Pooling
from blocklearn.heads.teacher import MovingAverage
from blocklearn.objectives.joint_embedding import width_of
from blocklearn.objectives.objective import LocalBatch, Objective, Published
from blocklearn.training.contract import Clock


class Taught(Objective):
    """A student, the block's stages with pooling and projector, and a teacher, their moving
    average. Subclass it and write `forward`; call `begin` and `teach` there.

    The teacher begins as a copy of the student, whatever weights were loaded into it before, and
    follows after every update with a momentum that goes from `momentum` to `final_momentum`:
    `final_momentum - (final_momentum - momentum) (cos(pi step / total) + 1) / 2` (arXiv 2006.07733,
    section 3.3). It belongs to the block: no optimizer has it, and no other block is read.

    Args:
        spec: the block's last stage.
        pooling: features to a vector; built from the `StageSpec`.
        projector: the network behind the pooling; built from the pooled width.
        momentum: at the beginning, in [0, 1].
        feed_teacher: the teacher of block k + 1 gets the output of block k's teacher, so that the
            teachers are one network; otherwise it gets what the student gets.
        final_momentum: at the end, in [0, 1].

    Raises:
        ValueError: for a momentum out of range.
        UserError: for fewer views than `fewest_views`; where teachers feed one another across a
            shared stage.
    """

    fewest_views: int = 2
    begun: Tensor

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling],
        projector: Callable[[int], nn.Module],
        momentum: float,
        feed_teacher: bool,
        final_momentum: float = 1.0,
    ) -> None:
        super().__init__()
        for value in (momentum, final_momentum):
            if not 0 <= value <= 1:
                raise ValueError(f"{type(self).__name__} needs a momentum in [0, 1], got {value}")
        self.momentum, self.final_momentum = momentum, final_momentum
        self.feed_teacher = feed_teacher
        self.pooling = pooling(spec)
        self.projector = projector(self.pooling.out_features)
        self.register_buffer("begun", torch.tensor(False))
        self._stages: tuple[nn.Module, ...] = ()
        self._has_begun = False

    def bind(self, stages: Sequence[nn.Module]) -> None:
        self._stages = tuple(stages)
        self.teacher_stages = MovingAverage(nn.Sequential(*stages))
        self.teacher_head = MovingAverage(self._student_head)

    def after_update(self, clock: Clock) -> None:
        momentum = self.momentum_at(clock)
        self.teacher_stages.follow(nn.Sequential(*self._stages), momentum)
        self.teacher_head.follow(self._student_head, momentum)

    def hand_on(self, local: LocalBatch) -> Mapping[str, Any]:
        return self.handed(self.teach(local)) if self.feed_teacher else {}

    def published(self) -> Sequence[Published]:
        return [Published("head", self.pooling.out_features, self.pooling, self.pooling)]

    def further(self) -> Sequence[Published]:
        whole = nn.Sequential(self.pooling, self.projector)
        return [Published("projector", self.width, self.projector, whole)]

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse too few views, and a map that the pooling can make nothing of."""
        self.require_number(num_views)
        self.pooling.require(features)

    @property
    def width(self) -> int:
        """Of what the projector makes."""
        return width_of(self.projector, self.pooling.out_features)

    def momentum_at(self, clock: Clock) -> float:
        """With which the teacher follows after the update of this batch."""
        part = (math.cos(math.pi * clock.step / max(clock.total, 1)) + 1) / 2
        return self.final_momentum - (self.final_momentum - self.momentum) * part

    def begin(self, local: LocalBatch) -> None:
        """To be called first in `forward`: refuses too few views, and makes the teacher a copy of
        the student where it has not begun."""
        self.require_number(len(local.features))
        if self._has_begun or not self.training:
            return
        if not bool(self.begun):
            self.teacher_stages.begin_as(nn.Sequential(*self._stages))
            self.teacher_head.begin_as(self._student_head)
            self.begun.fill_(True)
        self._has_begun = True  # so that a device is asked once

    def teach(self, local: LocalBatch, views: int | None = None) -> list[Tensor]:
        """What the teacher's stages make of the first `views`, of all where null, without graph."""
        inputs = local.received.get("teacher", local.inputs) if self.feed_teacher else local.inputs
        if inputs and inputs[0].shape != local.inputs[0].shape:
            raise UserError(
                f"{type(self).__name__}: with feed_teacher blocks must not share stages; set it to "
                "false, or take blocks that do not overlap"
            )
        return [self.teacher_stages(view) for view in inputs[:views]]

    def handed(self, taught: Sequence[Tensor]) -> dict[str, Any]:
        """The extras for the next block: what `teach` made, where teachers feed one another."""
        return {"teacher": taught} if self.feed_teacher else {}

    def project(self, features: Tensor) -> Tensor:
        """The student's projection of the features of a view, `(B, width)`."""
        return self.projector(self.pooling(features))

    def require_number(self, num_views: int) -> None:
        """Refuse too few views."""
        least = self.fewest_views
        if num_views < least:
            words = {2: "two views"}.get(least, f"{least} views")
            raise UserError(
                f"{type(self).__name__} compares {words} or more, the data recipe makes "
                f"{num_views}: change --data.recipe or --model.objective"
            )

    @property
    def _student_head(self) -> nn.Module:
        return nn.Sequential(self.pooling, self.projector)

    def extra_repr(self) -> str:
        return f"momentum={self.momentum}, feed_teacher={self.feed_teacher}"
