"""InfoNCE over the patches of an image: predict those further down from those above."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, linear

from blocklearn.backbones.stage import StageSpec
from blocklearn.distributed.collectives import first_row, gather_batch
from blocklearn.errors import UserError
from blocklearn.heads.context import Context
from blocklearn.objectives.infonce import Contrast, contrast, own_generator, summarise
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published

Direction = Literal["down", "up", "right", "left"]


class PatchInfoNCE(Objective):
    """InfoNCE of Greedy InfoMax on images (arXiv 1905.11786, released code).

    The features are a grid of vectors: the mean of every patch where `--model.network.patches` cuts
    the images, else the positions of the stage's own map. With `z` at row `r` and a direction of
    down, step `k` asks for the vector `d = k + skip` rows below, in the same column, among
    negatives from the whole batch: `softmax(<c[r], W_k z[r + d]>)`. `W_k` acts on the target. The
    context `c` is `z` itself, with gradient, or what a context network makes of it. The loss is the
    mean over anchors, then steps, then directions. Chance is `ln(1 + negatives)`.

    Each anchor's negatives are drawn anew for every step and batch, uniformly and with replacement,
    from all the targets of that step; its own positive may be among them, as published.

    Metrics:
        accuracy: share of anchors, in [0, 1], whose positive beats all negatives; chance is `1 / (1
            + negatives)`.
        step1, step2, ...: the loss of every step.

    Unlike the released code the softmax's logarithm is taken exactly: there it is `log(p + 1e-11)`,
    which caps the loss at 25.3 and has no gradient there.

    Args:
        spec: the block's last stage.
        steps: predictions per anchor; 5 published.
        skip: rows next to the anchor that are not predicted; 1 published, since patches that
            overlap by half share pixels with their neighbour alone.
        negatives: per anchor; 16 published.
        directions: of prediction; down published. Each has weights of its own; the context network
            is shared, and reads the map turned so that it always looks back.
        grid: where images are not cut into patches, pool the map to so many cells per side first,
            no more than it has; null for all positions.
        context: the context network; built from the channels, `PixelCNN` for CPC, null for none.
        gather: draw negatives from the patches of all processes; otherwise every process draws, by
            the same indices, from those of its own, as published.

    Raises:
        ValueError: for a value out of range.
        UserError: for sound; on a grid with too few rows for the steps, here where the grid is
            known and otherwise with the first map.
    """

    def __init__(
        self,
        spec: StageSpec,
        steps: int = 5,
        skip: int = 1,
        negatives: int = 16,
        directions: Sequence[Direction] = ("down",),
        grid: int | None = None,
        context: Callable[[int], Context] | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__()
        if grid is not None and grid < 2:
            raise ValueError(
                f"PatchInfoNCE needs a grid of at least 2 cells per side, or null, got {grid}"
            )
        unknown = set(directions) - set(get_args(Direction))
        if (
            steps < 1
            or skip < 0
            or negatives < 1
            or unknown
            or not 0 < len(set(directions)) == len(directions)
        ):
            raise ValueError(
                "PatchInfoNCE needs steps >= 1, skip >= 0, negatives >= 1 and directions of "
                f"{get_args(Direction)}, each once, got {steps}, {skip}, {negatives} and "
                f"{directions}"
            )
        if spec.layout.is_sound:
            raise UserError(
                f"PatchInfoNCE predicts images, {spec.name} makes sound: take TemporalInfoNCE"
            )
        self.spec, self.steps, self.skip, self.negatives = spec, steps, skip, negatives
        self.grid, self.gather = grid, gather
        if spec.patch_grid > 1 or grid:
            self._require_rows(spec.patch_grid if spec.patch_grid > 1 else grid or 0)
        self.context = context(spec.channels) if context else None
        if self.context:
            self.context.require("map")
        width = self.context.out_channels if self.context else spec.channels
        self.predictors = nn.ModuleDict(
            {
                direction: nn.Linear(spec.channels, steps * width, bias=False)
                for direction in directions
            }
        )

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """One view or more, each `(B * patches, C, h, w)` or a map; with several the loss is their
        mean."""
        return summarise(
            [
                self._predict(turn(self._grid_of(view), direction), predictor)
                for view in local.features
                for direction, predictor in self.predictors.items()
            ]
        )

    def published(self) -> Sequence[Published]:
        """The mean context of the first direction; nothing without a context network."""
        context = self.context
        if context is None:
            return ()

        def mean(features: Tensor) -> Tensor:
            grid = turn(self._grid_of(features), next(iter(self.predictors)))
            return context(grid).mean(dim=(2, 3))

        return [Published("context", context.out_channels, context, mean)]

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse a map with too few positions for grid or steps; reported before training. Any
        number of views will do."""
        height, width = self.spec.as_map(features).shape[2:]
        if self.grid and self.spec.patch_grid == 1 and self.grid > min(height, width):
            raise UserError(
                f"PatchInfoNCE: {self.spec.name} has a map of {height} x {width} positions, not "
                f"{self.grid} a side; lower grid"
            )
        grid = self._grid_of(features)
        for direction in self.predictors:
            self._require_rows(turn(grid, direction).shape[2])

    def _require_rows(self, rows: int) -> None:
        if self.steps + self.skip >= rows:
            raise UserError(
                f"PatchInfoNCE: {self.spec.name} has a grid of {rows} rows, so at most "
                f"{max(rows - 1 - self.skip, 0)} steps with skip {self.skip}; lower steps or make "
                "the grid finer"
            )

    def _grid_of(self, view: Tensor) -> Tensor:
        grid = self.spec.as_map(view)
        return (
            adaptive_avg_pool2d(grid, self.grid)
            if self.grid and self.spec.patch_grid == 1
            else grid
        )

    def _predict(self, z: Tensor, predictor: nn.Module) -> list[Contrast]:
        """The steps of one direction; `z` is turned so that it is down."""
        self._require_rows(z.shape[2])
        context = z if self.context is None else self.context(z)
        generator = own_generator(z.device)
        anchors: list[Tensor] = []
        targets: list[Tensor] = []
        pools: list[Tensor] = []
        negatives: list[Tensor] = []
        weights = predictor.weight.chunk(self.steps)  # pyright: ignore
        for step, weight in enumerate(weights, start=1):
            distance = step + self.skip
            anchors.append(as_rows(context[:, :, :-distance]))
            targets.append(linear(as_rows(z[:, :, distance:]), weight))
            own = targets[-1]
            pool = gather_batch(own, even=self.training) if self.gather else own
            first = first_row(own, even=self.training) if self.gather else 0
            drawn = torch.randint(
                len(pool), (len(pool), self.negatives), generator=generator, device=z.device
            )
            negatives.append(drawn[first : first + len(own)] + sum(len(other) for other in pools))
            pools.append(pool)
        return contrast(anchors, targets, torch.cat(pools), negatives)

    def extra_repr(self) -> str:
        return (
            f"steps={self.steps}, skip={self.skip}, negatives={self.negatives}, "
            f"directions={list(self.predictors)}"
        )


def turn(grid: Tensor, direction: str) -> Tensor:
    """`(B, C, H, W)` turned so that the direction becomes down."""
    if direction in ("right", "left"):
        grid = grid.transpose(2, 3)
    return grid.flip(2) if direction in ("up", "left") else grid


def as_rows(grid: Tensor) -> Tensor:
    """`(B, C, H, W)` to `(B * H * W, C)`."""
    return grid.permute(0, 2, 3, 1).flatten(0, 2)
