"""CLAPP++: a learned bilinear score between two views of an image, on grids of places."""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from blocklearn.backbones.stage import StageSpec
from blocklearn.criteria.criterion import at_least_float32
from blocklearn.distributed.collectives import first_row, gather_batch, sum_over_processes
from blocklearn.errors import UserError
from blocklearn.objectives.infonce import own_generator
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput


class CLAPPPlusPlus(Objective):
    """CLAPP++ with the context of the same layer (arXiv 2601.21683): `f(s) + f(-s')` with `f(x) =
    max(0, 1 - x)`, `s = z' B c` of the two views of an image, and `s'` the same with the `z` of
    another image.

    `z` is one view's map pooled to `grid x grid` cells and flattened, `c` the other view's pooled
    to `context_grid x context_grid`, so that `B` learns which places go with which. The loss is the
    mean over images and over both orders of the views; at scores of 0 it is 2.

    For each image and order one other image of the whole batch is drawn, of all processes, so that
    several processes give the loss of one.

    Metrics:
        accuracy: share of the scores, in [0, 1], with the right sign: `s` above 0, `s'` below.

    Args:
        spec: the block's last stage.
        grid: cells per side of `z`; 1 is the mean over places.
        context_grid: cells per side of `c`.

    Raises:
        ValueError: for a grid below 1.
        UserError: for sound; for another number of views than two; for a batch of one image.
    """

    def __init__(self, spec: StageSpec, grid: int = 3, context_grid: int = 3) -> None:
        super().__init__()
        if grid < 1 or context_grid < 1:
            raise ValueError(f"CLAPPPlusPlus needs grids >= 1, got {grid} and {context_grid}")
        if spec.layout.is_sound:
            raise UserError(f"CLAPPPlusPlus compares images, {spec.name} makes sound")
        self.spec, self.grid, self.context_grid = spec, grid, context_grid
        places, context = spec.channels * grid**2, spec.channels * context_grid**2
        self.bilinear = nn.Linear(context, places, bias=False)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """Maps `(B, C, H, W)`, two views, to the loss.

        Raises:
            UserError: for another number of views, or a batch of one image.
        """
        _require_two(len(local.features))
        first, second = (self.spec.as_map(view) for view in local.features)
        sums = self._order(first, second) + self._order(second, first)
        loss, right, count = sum_over_processes(sums)
        accuracy = right / count / 2
        return ObjectiveOutput(loss / count.detach(), {"accuracy": accuracy.detach()})

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse another number of views than two, and a map with too few positions; reported
        before training."""
        _require_two(num_views)
        side, largest = min(self.spec.as_map(features).shape[2:]), max(self.grid, self.context_grid)
        if largest > side:
            raise UserError(
                f"CLAPPPlusPlus: {self.spec.name} has a map of {side} positions a side, not "
                f"{largest}; lower grid and context_grid"
            )

    def _order(self, view: Tensor, context: Tensor) -> Tensor:
        """Of this process' images: sums of the loss and of what is right, and their number."""
        z = adaptive_avg_pool2d(view, self.grid).flatten(1)
        asked = self.bilinear(adaptive_avg_pool2d(context, self.context_grid).flatten(1))
        positive, negative = _products(z, asked), _products(self._others(z), asked)
        loss = (1 - positive).relu().sum() + (1 + negative).relu().sum()
        right = ((positive > 0).sum() + (negative < 0).sum()).to(loss.dtype)
        return torch.stack([loss, right, loss.new_full((), len(z))])

    def _others(self, z: Tensor) -> Tensor:
        """Of each image another's `z`: on every process the same draws, of which each takes those
        of its own images."""
        pool = gather_batch(z, even=self.training)
        count = len(pool)
        if count < 2:
            raise UserError("CLAPPPlusPlus: a batch of 1 image has no other; raise batch_size")
        generator = own_generator(z.device)
        ahead = torch.randint(1, count, (count,), generator=generator, device=z.device)
        own = torch.arange(len(z), device=z.device) + first_row(z, even=self.training)
        return pool[(own + ahead[own]) % count]

    def extra_repr(self) -> str:
        return f"grid={self.grid}, context_grid={self.context_grid}"


def _require_two(views: int) -> None:
    if views != 2:
        raise UserError(
            f"CLAPPPlusPlus compares two views, the data recipe makes {views}: change "
            "--data.recipe or --model.objective"
        )


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Row by row: two of `(B, D)` to `(B,)`."""
    return (at_least_float32(first) * at_least_float32(second)).sum(dim=1)
