"""DINO: match a slowly moving teacher's distribution over prototypes, in views of all sizes."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import all_reduce, sum_over_processes
from blocklearn.heads.dino_head import DINOHead
from blocklearn.heads.pooling import GlobalPooling, Pooling
from blocklearn.objectives.objective import LocalBatch, ObjectiveOutput, Published
from blocklearn.objectives.taught import Taught
from blocklearn.training.contract import Clock


class DINO(Taught):
    """Self-distillation with no labels (arXiv 2104.14294), block by block.

    With `s` what the student's head makes of a view and `t` what the teacher's makes of one of the
    first `global_views`, the loss is the cross-entropy
    `-softmax((t - c) / teacher_temperature) log softmax(s / student_temperature)` (eq. 1 to 3),
    the mean over samples and over all pairs of a teacher's view with another of the student's. The
    centre `c` is a moving average of the mean of `t` over the whole batch (eq. 4). The mean is over
    the samples of all processes.

    Metrics:
        teacher_entropy: mean entropy of the teacher's distributions over that of the uniform one,
            in [0, 1]. At 1: collapse to the uniform distribution.
        prototype_use: the same of their mean over samples. Near 0: collapse to one prototype.
        student_top1: share of pairs, in [0, 1], in which student and teacher find the same
            prototype likeliest.

    Args:
        spec: the block's last stage.
        pooling: features to a vector; built from the `StageSpec`.
        head: behind the pooling; built from the pooled width.
        momentum: of the teacher at the beginning, in [0, 1]; 0.996 published. It rises to 1.
        student_temperature: > 0; 0.1 published.
        teacher_temperature: > 0; 0.04 published, or 0.07 after a warm-up.
        warmup_temperature: of the teacher in the first epoch; 0.04 published.
        warmup_epochs: over which it goes to `teacher_temperature`, epoch by epoch; 30 published for
            the long runs; at 0 there is no warm-up.
        centre_momentum: in [0, 1]; 0.9 published.
        global_views: how many views, the first, the teacher sees, >= 1; 2 published.
        frozen_epochs: in which the prototypes stand still, at the beginning; 1 published.
        feed_teacher: the teacher of block k + 1 gets the output of block k's teacher. Not
            published.

    Raises:
        ValueError: for a value out of range.
        UserError: for fewer than two views, or fewer than `global_views`; where teachers feed one
            another across a shared stage.
    """

    centre: Tensor

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = GlobalPooling,
        head: Callable[[int], DINOHead] = DINOHead,
        momentum: float = 0.996,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        warmup_temperature: float = 0.04,
        warmup_epochs: int = 0,
        centre_momentum: float = 0.9,
        global_views: int = 2,
        frozen_epochs: int = 1,
        feed_teacher: bool = False,
    ) -> None:
        super().__init__(spec, pooling, head, momentum, feed_teacher)
        temperatures = (student_temperature, teacher_temperature, warmup_temperature)
        counts = (warmup_epochs, global_views - 1, frozen_epochs)
        if not min(temperatures) > 0 or min(counts) < 0 or not 0 <= centre_momentum <= 1:
            raise ValueError(
                "DINO needs temperatures > 0, warmup_epochs and frozen_epochs >= 0, global_views "
                f">= 1 and centre_momentum in [0, 1], got {temperatures}, {warmup_epochs}, "
                f"{frozen_epochs}, {global_views} and {centre_momentum}"
            )
        self.student_temperature = student_temperature
        self.teacher_temperatures = (warmup_temperature, teacher_temperature)
        self.warmup_epochs, self.frozen_epochs = warmup_epochs, frozen_epochs
        self.centre_momentum, self.global_views = centre_momentum, global_views
        self.fewest_views = max(2, global_views)
        self.register_buffer("centre", torch.zeros(self.width))

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss."""
        self.begin(local)
        taught = self.teach(local, self.global_views)
        targets = [at_least_float32(self.teacher_head(features)) for features in taught]
        learns = not self.training or local.clock.epoch >= self.frozen_epochs
        guesses = [self.projector(self.pooling(view), learns) for view in local.features]
        with torch.autocast(targets[0].device.type, enabled=False):
            sharp = [self._sharpened(target, local.clock) for target in targets]
            loss, top1 = self._cross_entropy(sharp, guesses)
            metrics = {"student_top1": top1, **_spread(sharp)}
            if self.training:
                self._move_centre(targets)
        return ObjectiveOutput(loss, metrics, self.handed(taught))

    def further(self) -> Sequence[Published]:
        mlp = self.projector.get_submodule("mlp")
        width = int(getattr(mlp, "out_features"))  # noqa: B009
        return [Published("projector", width, mlp, nn.Sequential(self.pooling, mlp))]

    def temperature_at(self, clock: Clock) -> float:
        """Of the teacher, in the epoch of this batch; outside of training that of the end."""
        first, last = self.teacher_temperatures
        if not clock.learning or clock.epoch >= self.warmup_epochs:
            return last
        return first + (last - first) * clock.epoch / max(self.warmup_epochs - 1, 1)

    def _sharpened(self, target: Tensor, clock: Clock) -> Tensor:
        """The teacher's distributions `(B, K)`."""
        return ((target - self.centre) / self.temperature_at(clock)).softmax(dim=1)

    def _cross_entropy(
        self, sharp: Sequence[Tensor], guesses: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The loss, and `student_top1`, of all pairs of two views."""
        logs = [(at_least_float32(s) / self.student_temperature).log_softmax(1) for s in guesses]
        pairs = [(t, s) for t, s in product(range(len(sharp)), range(len(logs))) if t != s]
        losses = torch.stack([-(sharp[t] * logs[s]).sum() for t, s in pairs])
        likeliest = [[x.detach().argmax(dim=1) for x in of] for of in (sharp, logs)]
        same = torch.stack([(likeliest[0][t] == likeliest[1][s]).sum() for t, s in pairs])
        count = losses.new_full((), len(pairs) * len(sharp[0]))
        sums = torch.stack([losses.sum(), same.sum().to(losses.dtype), count])
        total, hits, count = sum_over_processes(sums).unbind()
        return total / count.detach(), (hits / count).detach()

    @torch.no_grad()
    def _move_centre(self, targets: Sequence[Tensor]) -> None:
        """Towards the mean over the samples of all processes; where that is finite."""
        mean = _mean(targets).to(self.centre.dtype)
        moved = torch.lerp(mean, self.centre, self.centre_momentum)
        self.centre.copy_(torch.where(moved.isfinite(), moved, self.centre))


def _mean(rows: Sequence[Tensor]) -> Tensor:
    """Of vectors `(B, K)` over the samples of all processes, and the views."""
    sums = torch.stack(list(rows)).sum(dim=(0, 1))
    count = sums.new_full((1,), len(rows) * len(rows[0]))
    every = all_reduce(torch.cat([sums, count]))
    return every[:-1] / every[-1]


def _entropy(p: Tensor) -> Tensor:
    """Of distributions along the last axis, over that of the uniform one."""
    largest = torch.full((), float(p.shape[-1]), device=p.device).log()
    return torch.special.entr(p).sum(dim=-1) / largest


def _spread(sharp: Sequence[Tensor]) -> dict[str, Tensor]:
    """Two of the metrics."""
    return {
        "teacher_entropy": _mean([_entropy(p).unsqueeze(1) for p in sharp])[0],
        "prototype_use": _entropy(_mean(sharp)),
    }
