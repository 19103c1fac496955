"""BYOL: predict what a slowly moving teacher makes of another view."""

from collections.abc import Callable
from itertools import permutations

import torch
from torch.nn.functional import cosine_similarity

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.heads.pooling import GlobalPooling, Pooling
from blocklearn.heads.projector import Projector
from blocklearn.objectives.objective import LocalBatch, ObjectiveOutput
from blocklearn.objectives.taught import Taught


class BYOL(Taught):
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

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = GlobalPooling,
        projector: Callable[[int], Projector] = lambda width: Projector(width, [4096, 256]),
        predictor: Callable[[int], Projector] = lambda width: Projector(width, [4096, 256]),
        momentum: float = 0.996,
        feed_teacher: bool = False,
    ) -> None:
        super().__init__(spec, pooling, projector, momentum, feed_teacher)
        self.predictor = predictor(self.width)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss."""
        self.begin(local)
        taught = self.teach(local)
        targets = [self.teacher_head(features) for features in taught]
        guesses = [self.predictor(self.project(features)) for features in local.features]
        with torch.autocast(guesses[0].device.type, enabled=False):
            cosines = [
                cosine_similarity(at_least_float32(guesses[v]), at_least_float32(targets[w]), dim=1)
                for v, w in permutations(range(len(guesses)), 2)
            ]
            every = torch.cat(cosines)
            count = every.new_full((), len(every))
            total, count = sum_over_processes(torch.stack([every.sum(), count])).unbind()
            cosine = total / count.detach()
        metrics = {"teacher_similarity": cosine.detach()}
        return ObjectiveOutput(4 - 4 * cosine, metrics, self.handed(taught))
