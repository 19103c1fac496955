"""Predict the label and match similarities: local error signals."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import one_hot

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import gather_batch, sum_over_processes
from blocklearn.heads.bounded_pooling import BoundedPooling
from blocklearn.heads.pooling import Pooling
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published
from blocklearn.objectives.supervised import Supervised
from blocklearn.training.contract import LocalBlock


class PredSim(Objective):
    """Cross-entropy and similarity matching on every block ("predsim", arXiv 1901.06656).

    `loss = (1 - b) CE(W pool(h), y) + b mean_ij (S(conv h)_ij - S(y)_ij)^2`, where `S` is the
    matrix of the cosines among the samples of the batch, of vectors whose own mean is taken off.
    The vector of a map is the standard deviation over its positions, channel by channel; that of a
    label is one-hot. `conv` is 3x3 without bias and keeps the channels.

    Without labels (the authors' `--loss-unsup sim`) the similarities are those of what the block
    gets, `S(x)`, in the place of `S(y)`, and there is no cross-entropy; images are taken number by
    number.

    Every view has a loss of its own, and their mean counts; any number of views will do. Over
    several processes the batch is that of all.

    Metrics:
        accuracy: share of samples and views, in [0, 1], whose label is the likeliest class; with
            labels.
        similarity_error: mean squared difference of the similarities. 0 is good.

    Args:
        spec: the block's last stage.
        num_classes: labels are 0 to `num_classes - 1`, all samples labelled; null without labels.
        labels: learn from labels, or from the block's input alone.
        beta: `b`, weight of the similarities, in [0, 1]; 0.99 published. It matters with labels.
        pooling: what the classifier sees; builds it from the `StageSpec`.

    Raises:
        ValueError: for a weight out of range; for labels without a number of classes.
        UserError: for labels out of range, on every process where one of them has such.
    """

    def __init__(
        self,
        spec: StageSpec,
        num_classes: int | None = None,
        labels: bool = True,
        beta: float = 0.99,
        pooling: Callable[[StageSpec], Pooling] = BoundedPooling,
    ) -> None:
        super().__init__()
        if not 0 <= beta <= 1 or (labels and num_classes is None):
            raise ValueError(
                "PredSim needs 0 <= beta <= 1, and num_classes where labels is true, got "
                f"beta={beta}, num_classes={num_classes}"
            )
        self.spec, self.beta, self.num_classes = spec, beta, num_classes or 0
        self.labels = "sample" if labels else "none"
        self.gets_images = True
        self.conv = nn.Conv2d(spec.channels, spec.channels, 3, padding=1, bias=False)
        self.prediction = Supervised(spec, self.num_classes, pooling) if labels else None
        self.pooling = pooling(spec) if self.prediction is None else None
        if self.prediction:
            nn.init.zeros_(self.prediction.classifier.weight)  # as the authors' code begins

    def join(self, index: int, blocks: Sequence[LocalBlock]) -> None:
        self.gets_images = index == 0

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, one per view, to the loss."""
        guesses = [self._vectors(self.conv(self.spec.as_map(view))) for view in local.features]
        errors = [
            self._distance(guess, target)
            for guess, target in zip(guesses, self._targets(local), strict=True)
        ]
        error = torch.stack(errors).mean()
        metrics = {"similarity_error": error.detach()}
        if self.prediction is None:
            return ObjectiveOutput(error, metrics)
        loss, accuracy, _ = self.prediction(local)
        return ObjectiveOutput((1 - self.beta) * loss + self.beta * error, {**accuracy, **metrics})

    def published(self) -> Sequence[Published]:
        pooling = self.prediction.pooling if self.prediction else self.pooling
        assert pooling is not None
        return [Published("head", pooling.out_features, pooling, pooling)]

    def _targets(self, local: LocalBatch) -> list[Tensor]:
        """Vectors `(B, D)`, one per view, whose similarities are to be matched."""
        if self.prediction is None:
            return [self._vectors(self._input_map(view)) for view in local.inputs]
        label = local.batch.label.clamp(0, self.num_classes - 1)  # others are refused with the loss
        wanted = one_hot(label, self.num_classes).to(local.features[0].dtype)
        return [wanted] * len(local.features)

    def _input_map(self, x: Tensor) -> Tensor:
        """What the block got: images number by number, or features, in the layout of its own, as a
        map."""
        return x.flatten(1) if self.gets_images else self.spec.as_map(x)

    @staticmethod
    def _vectors(x: Tensor) -> Tensor:
        """A map `(B, C, H, W)` to `(B, C)`; one without channels or positions as it is."""
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            plain = x.ndim == 2 or x.shape[1] <= 3 or x.shape[2:].numel() == 1
            return x.flatten(1) if plain else x.flatten(2).std(dim=2)

    def _distance(self, guess: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of the similarities of `(B, D)` and `(B, E)`."""
        with torch.autocast(guess.device.type, enabled=False):
            found, wanted = self._similarities(guess), self._similarities(target)
            squares = (found - wanted).square().sum()
            count = squares.new_full((), len(guess))
            total, count = sum_over_processes(torch.stack([squares, count])).unbind()
        return total / count.detach() ** 2

    def _similarities(self, x: Tensor) -> Tensor:
        """`(B, D)` of this process to `(B, N)`, with all samples."""
        x = at_least_float32(x)
        x = x - x.mean(dim=1, keepdim=True)
        unit = x / (vector_norm(x, dim=1, keepdim=True) + 1e-8)
        return unit @ gather_batch(unit, even=self.training).T

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse a map that the pooling can make nothing of; reported before training."""
        (published,) = self.published()
        published.module.require(features)  # pyright: ignore[reportCallIssue]

    def extra_repr(self) -> str:
        return f"beta={self.beta}"
