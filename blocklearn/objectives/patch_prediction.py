"""What objectives share that predict the patches of an image further down from those above."""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError
from blocklearn.objectives.objective import Objective

Direction = Literal["down", "up", "right", "left"]


class PatchPrediction(Objective):
    """The grid of vectors that an image is for it, and the weights of every direction. Subclass it,
    call `predict_with` in `__init__`, and write `forward`.

    Args:
        spec: the block's last stage.
        steps: predictions per vector.
        skip: rows next to a vector that are not predicted.
        directions: of prediction; each has weights of its own.
        grid: where images are not cut into patches, pool the map to so many cells per side first;
            null for all positions.

    Raises:
        ValueError: for a value out of range.
        UserError: for sound; on a grid with too few rows for the steps, here where the grid is
            known and otherwise with the first map.
    """

    def __init__(
        self,
        spec: StageSpec,
        steps: int,
        skip: int,
        directions: Sequence[Direction],
        grid: int | None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if grid is not None and grid < 2:
            raise ValueError(
                f"{name} needs a grid of at least 2 cells per side, or null, got {grid}"
            )
        unknown = set(directions) - set(get_args(Direction))
        if steps < 1 or skip < 0 or unknown or not 0 < len(set(directions)) == len(directions):
            raise ValueError(
                f"{name} needs steps >= 1, skip >= 0 and directions of {get_args(Direction)}, "
                f"each once, got {steps}, {skip} and {directions}"
            )
        if spec.layout.is_sound:
            raise UserError(
                f"{name} predicts images, {spec.name} makes sound: take TemporalInfoNCE"
            )
        self.spec, self.steps, self.skip, self.grid = spec, steps, skip, grid
        self.directions = tuple(directions)
        if spec.patch_grid > 1 or grid:
            self._require_rows(spec.patch_grid if spec.patch_grid > 1 else grid or 0)

    def predict_with(self, width: int) -> None:
        """Make `predictors`: by direction, `steps` matrices `(width, C)` below one another."""
        self.predictors = nn.ModuleDict(
            {
                direction: nn.Linear(self.spec.channels, self.steps * width, bias=False)
                for direction in self.directions
            }
        )

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse a map with too few positions for grid or steps; reported before training. Any
        number of views will do."""
        height, width = self.spec.as_map(features).shape[2:]
        if self.grid and self.spec.patch_grid == 1 and self.grid > min(height, width):
            raise UserError(
                f"{type(self).__name__}: {self.spec.name} has a map of {height} x {width} "
                f"positions, not {self.grid} a side; lower grid"
            )
        grid = self.grid_of(features)
        for direction in self.directions:
            self._require_rows(turn(grid, direction).shape[2])

    def grid_of(self, view: Tensor) -> Tensor:
        """`(B * patches, C, h, w)`, or a map, as `(B, C, rows, columns)`."""
        grid = self.spec.as_map(view)
        pools = self.grid and self.spec.patch_grid == 1
        return adaptive_avg_pool2d(grid, self.grid or 1) if pools else grid

    def _require_rows(self, rows: int) -> None:
        if self.steps + self.skip >= rows:
            raise UserError(
                f"{type(self).__name__}: {self.spec.name} has a grid of {rows} rows, so at most "
                f"{max(rows - 1 - self.skip, 0)} steps with skip {self.skip}; lower steps or make "
                "the grid finer"
            )


def turn(grid: Tensor, direction: str) -> Tensor:
    """`(B, C, H, W)` turned so that the direction becomes down."""
    if direction in ("right", "left"):
        grid = grid.transpose(2, 3)
    return grid.flip(2) if direction in ("up", "left") else grid


def as_rows(grid: Tensor) -> Tensor:
    """`(B, C, H, W)` to `(B * H * W, C)`."""
    return grid.permute(0, 2, 3, 1).flatten(0, 2)
