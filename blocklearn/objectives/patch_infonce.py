"""InfoNCE over the patches of an image: predict those further down from those above."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from blocklearn.backbones.stage import StageSpec
from blocklearn.distributed.collectives import first_row, gather_batch
from blocklearn.heads.context import Context
from blocklearn.objectives.infonce import Contrast, contrast, own_generator, summarise
from blocklearn.objectives.objective import LocalBatch, ObjectiveOutput, Published
from blocklearn.objectives.patch_prediction import Direction, PatchPrediction, as_rows, turn


class PatchInfoNCE(PatchPrediction):
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
        super().__init__(spec, steps, skip, directions, grid)
        if negatives < 1:
            raise ValueError(
                f"PatchInfoNCE needs steps >= 1, skip >= 0, negatives >= 1, got {steps}, {skip} "
                f"and {negatives}"
            )
        self.negatives, self.gather = negatives, gather
        self.context = context(spec.channels) if context else None
        if self.context:
            self.context.require("map")
        self.predict_with(self.context.out_channels if self.context else spec.channels)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """One view or more, each `(B * patches, C, h, w)` or a map; with several the loss is their
        mean."""
        return summarise(
            [
                self._predict(turn(self.grid_of(view), direction), predictor)
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
            grid = turn(self.grid_of(features), next(iter(self.predictors)))
            return context(grid).mean(dim=(2, 3))

        return [Published("context", context.out_channels, context, mean)]

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
