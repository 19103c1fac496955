"""SimSiam: predict the other view's projection, which gets no gradient."""

from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import sum_over_processes
from blocklearn.distributed.moments import global_moments
from blocklearn.errors import UserError
from blocklearn.heads.pooling import GlobalPooling, Pooling
from blocklearn.heads.projector import Projector
from blocklearn.objectives.joint_embedding import width_of
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published


def three_layers(width: int) -> Projector:
    """The published projector on features of that width."""
    return Projector(width, [2048, 2048, 2048], last_norm=True)


def through_a_quarter(width: int) -> Projector:
    """The published predictor on projections of that width: through a quarter of it and back."""
    return Projector(width, [max(width // 4, 1), width])


class SimSiam(Objective):
    """Simple Siamese learning (arXiv 2011.10566), block by block.

    With `z` the projection of a view and `p` its prediction from it, the loss is
    `-(cos(p1, stop(z2)) + cos(p2, stop(z1))) / 2` (eq. 1, 3 and 4), of more views the mean over all
    ordered pairs. No negatives, no teacher, no momentum: what is predicted gets no gradient. The
    mean is over the samples of all processes.

    Metrics:
        view_similarity: mean cosine of prediction and target, in [-1, 1]; the loss is its negative.
        output_std: standard deviation of the components of `z / |z|`, times the root of their
            number. About 1: the outputs are spread over the sphere; 0: collapse (figure 2).

    Args:
        spec: the block's last stage.
        pooling: features to a vector; built from the `StageSpec`.
        projector: the MLP behind the pooling; built from the pooled width. Three layers of 2048
            with a norm behind each published.
        predictor: the MLP behind the projector; built from its width. Published, and built where it
            is left out: two layers, the first a quarter as wide (512).

    Raises:
        UserError: for fewer than two views.
    """

    def __init__(
        self,
        spec: StageSpec,
        pooling: Callable[[StageSpec], Pooling] = GlobalPooling,
        projector: Callable[[int], Projector] = three_layers,
        predictor: Callable[[int], Projector] = through_a_quarter,
    ) -> None:
        super().__init__()
        self.pooling = pooling(spec)
        self.projector = projector(self.pooling.out_features)
        self.width = width_of(self.projector, self.pooling.out_features)
        self.predictor = predictor(self.width)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss."""
        self._require_number(len(local.features))
        z = [self.projector(self.pooling(features)) for features in local.features]
        p = [self.predictor(projected) for projected in z]
        with torch.autocast(z[0].device.type, enabled=False):
            targets = [at_least_float32(projected).detach() for projected in z]
            cosine = self._similarity([at_least_float32(guess) for guess in p], targets)
            metrics = {"view_similarity": cosine.detach(), "output_std": _spread(targets)}
        return ObjectiveOutput(-cosine, metrics)

    def published(self) -> Sequence[Published]:
        return [Published("head", self.pooling.out_features, self.pooling, self.pooling)]

    def further(self) -> Sequence[Published]:
        whole = torch.nn.Sequential(self.pooling, self.projector)
        return [Published("projector", self.width, self.projector, whole)]

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse a single view, and a map that the pooling can make nothing of."""
        self._require_number(num_views)
        self.pooling.require(features)

    @staticmethod
    def _similarity(guesses: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """The mean cosine over samples and ordered pairs of views."""
        pairs = permutations(range(len(guesses)), 2)
        every = torch.cat([cosine_similarity(guesses[v], targets[w], dim=1) for v, w in pairs])
        sums = torch.stack([every.sum(), every.new_full((), len(every))])
        total, count = sum_over_processes(sums).unbind()
        return total / count.detach()

    @staticmethod
    def _require_number(num_views: int) -> None:
        if num_views < 2:
            raise UserError(
                f"SimSiam compares two views or more, the data recipe makes {num_views}: change "
                "--data.recipe or --model.objective"
            )


def _spread(z: Sequence[Tensor]) -> Tensor:
    """The metric `output_std`."""
    _, variance, _ = global_moments(normalize(torch.cat(list(z)), dim=1))
    return variance.sqrt().mean() * z[0].shape[1] ** 0.5
