"""CLAPP: tell the patches further down of the same image from those of another, by a hinge."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import linear

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import first_row, gather_batch, sum_over_processes
from blocklearn.errors import UserError
from blocklearn.objectives.infonce import own_generator
from blocklearn.objectives.objective import LocalBatch, ObjectiveOutput
from blocklearn.objectives.patch_prediction import Direction, PatchPrediction, as_rows, turn

Mode = Literal["one", "both"]


class Others(NamedTuple):
    """What was drawn for the images of a view.

    Attributes:
        grid: `(B, C, rows, columns)`, of each image's negative.
        weights: `(2, B)`, how much of each image's positive and negative counts: 0 or 1.
    """

    grid: Tensor
    weights: Tensor


class CLAPP(PatchPrediction):
    """Contrastive, Local And Predictive Plasticity (arXiv 2010.08262, eqs. 2 and 3).

    The features are a grid of vectors, as for `PatchInfoNCE`. With `z` at row `r` and a direction
    of down, step `k` scores the vector `d = k + skip` rows below, `s = <z[r], W_k z[r + d]>`, and
    the same place of another image, `s'`. The loss is the mean of `max(0, 1 - s)` and `max(0, 1 +
    s')` over places and images, then steps, then directions and views; at scores of 0 it is 1 with
    `one` and 2 with `both`.

    Every view draws for each image one other of the whole batch, of all processes, and takes that
    one at all places, steps and directions. Several processes so give the loss of one; each sees
    the grids of all.

    Metrics:
        accuracy: share of the scores that count, in [0, 1], with the right sign: positive above 0,
            negative below.
        step1, step2, ...: the loss of every step.

    Args:
        spec: the block's last stage.
        steps: predictions per vector; 5 here, as `PatchInfoNCE`.
        skip: rows next to the vector that are not predicted; 1 here, as `PatchInfoNCE`.
        mode: `one`: for each image either its positive or its negative counts, by the toss of a
            coin; `both`: both, and they are added (CLAPP-s).
        directions: of prediction; each has weights of its own.
        grid: where images are not cut into patches, pool the map to so many cells per side first,
            no more than it has; null for all positions.

    Raises:
        ValueError: for a value out of range.
        UserError: for sound; on a grid with too few rows for the steps, here where the grid is
            known and otherwise with the first map; for a batch of one image.
    """

    def __init__(
        self,
        spec: StageSpec,
        steps: int = 5,
        skip: int = 1,
        mode: Mode = "one",
        directions: Sequence[Direction] = ("down",),
        grid: int | None = None,
    ) -> None:
        super().__init__(spec, steps, skip, directions, grid)
        if mode not in get_args(Mode):
            raise ValueError(f"CLAPP needs a mode of {get_args(Mode)}, got {mode}")
        self.mode = mode
        self.predict_with(spec.channels)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """One view or more, each `(B * patches, C, h, w)` or a map; with several the loss is their
        mean.

        Raises:
            UserError: for a batch of one image.
        """
        sums = torch.stack([self._view(self.grid_of(view)) for view in local.features])
        sums = sum_over_processes(sums)  # views, directions, steps, (loss, right, images, scores)
        loss, right, images, scores = sums.unbind(dim=-1)
        by_step = (loss / images.detach()).mean(dim=(0, 1))
        metrics = {f"step{k}": step for k, step in enumerate(by_step.detach(), start=1)}
        accuracy = (right.sum() / scores.sum()).detach()
        return ObjectiveOutput(by_step.mean(), {"accuracy": accuracy, **metrics})

    def _view(self, z: Tensor) -> Tensor:
        """`(directions, steps, 4)`: sums over this process' images."""
        others = self._draw(z)
        return torch.stack([self._direction(z, others, name) for name in self.directions])

    def _draw(self, z: Tensor) -> Others:
        """On every process the same draws, of which each takes those of its own images."""
        pool = gather_batch(z, even=self.training)
        count = len(pool)
        if count < 2:
            raise UserError("CLAPP: a batch of 1 image has no other; raise --data.batch_size")
        generator = own_generator(z.device)
        ahead = torch.randint(1, count, (count,), generator=generator, device=z.device)
        coin = torch.randint(2, (count,), generator=generator, device=z.device)
        own = torch.arange(len(z), device=z.device) + first_row(z, even=self.training)
        weights = torch.ones_like(coin).expand(2, -1) if self.mode == "both" else _sides(coin)
        return Others(pool[(own + ahead[own]) % count], weights[:, own])

    def _direction(self, z: Tensor, others: Others, direction: str) -> Tensor:
        down, other = turn(z, direction), turn(others.grid, direction)
        self._require_rows(down.shape[2])
        weights = self.predictors[direction].weight.chunk(self.steps)  # pyright: ignore
        sums: list[Tensor] = []
        for distance, weight in enumerate(weights, start=1 + self.skip):
            context = as_rows(down[:, :, :-distance])
            scores = [_scores(context, side[:, :, distance:], weight) for side in (down, other)]
            sums.append(_hinge(torch.stack(scores), others.weights))
        return torch.stack(sums)

    def extra_repr(self) -> str:
        return (
            f"steps={self.steps}, skip={self.skip}, mode={self.mode}, "
            f"directions={list(self.directions)}"
        )


def _sides(coin: Tensor) -> Tensor:
    """Heads for the positive, tails for the negative: `(B,)` to `(2, B)`."""
    return torch.stack([coin, 1 - coin])


def _scores(context: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """`(B, places)`: every vector's product with what the weight makes of its target."""
    predicted = linear(as_rows(target), weight)
    products = at_least_float32(context) * at_least_float32(predicted)
    return products.sum(dim=1).unflatten(0, (len(target), -1))


def _hinge(scores: Tensor, weights: Tensor) -> Tensor:
    """Scores `(2, B, places)` of positives and negatives to their loss, how many are right, images
    and scores that count."""
    positive, negative = scores
    margins = torch.stack([1 - positive, 1 + negative]).relu().mean(dim=2)
    right = torch.stack([positive > 0, negative < 0]).to(margins.dtype).mean(dim=2)
    return torch.stack(
        [
            (margins * weights).sum(),
            (right * weights).sum(),
            margins.new_full((), scores.shape[1]),
            weights.sum().to(margins.dtype),
        ]
    )
