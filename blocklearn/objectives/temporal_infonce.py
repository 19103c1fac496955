"""InfoNCE over time: predict the positions to come."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from blocklearn.backbones.stage import StageSpec
from blocklearn.distributed.collectives import first_row, gather_batch
from blocklearn.errors import UserError
from blocklearn.heads.context import Context
from blocklearn.objectives.infonce import Contrast, contrast, own_generator, summarise
from blocklearn.objectives.objective import LocalBatch, Objective, ObjectiveOutput, Published

Sampling = Literal["cyclic", "permutation", "same_sequence"]


class TemporalInfoNCE(Objective):
    """InfoNCE of CPC and Greedy InfoMax on sound (arXiv 1905.11786, released code).

    With `z` the features over time and `c` the context, step `k` asks for `z[t + k]` among
    negatives: `softmax(<W_k c[t], z[t + k]>)`. `W_k` acts on the context. The loss is the mean over
    anchors, then steps. Without a context network `c` is `z`. Gradients flow to the positives and
    the negatives too. Chance is `ln(1 + negatives)`.

    Metrics:
        accuracy: share of anchors, in [0, 1], whose positive beats all negatives; chance is `1 / (1
            + negatives)`.
        step1, step2, ...: the loss of every step.

    Args:
        spec: the block's last stage, in the layout `NCL`.
        steps: predictions per anchor; 12 published.
        negatives: per anchor; 10 published.
        sampling: where negatives come from; the released code's methods 0, 1 and 2.
            `cyclic`: for every anchor and step anew, from the positives of that step in the batch,
                never its own.
            `permutation` (published): permutations of all positions of the batch, one per negative;
            step `k` takes the last of them, so pairs change from step to step at no cost. A
            positive may be among them. `same_sequence`: positions of the anchor's own sequence, by
            permutations that all sequences share.
        window: of a longer sequence only so many positions, a random run of them, serve as anchors
            and positives; negatives still come from all of it (not with `cyclic`). 128 published;
            null for the whole sequence.
        context: the context network; built from the channels, null for none.
        gather: draw negatives from the sequences of all processes; otherwise every process draws,
            by the same indices, from those of its own, as published.

    Raises:
        ValueError: for a value out of range.
        UserError: for features that are no sound, or a sequence too short for the steps.
    """

    def __init__(
        self,
        spec: StageSpec,
        steps: int = 12,
        negatives: int = 10,
        sampling: Sampling = "permutation",
        window: int | None = 128,
        context: Callable[[int], Context] | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__()
        if (
            steps < 1
            or negatives < 1
            or sampling not in get_args(Sampling)
            or (window is not None and window <= steps)
        ):
            raise ValueError(
                "TemporalInfoNCE needs steps >= 1, negatives >= 1, a sampling of "
                f"{', '.join(get_args(Sampling))} and a window of more positions than steps, got "
                f"{steps}, {negatives}, {sampling} and {window}"
            )
        if not spec.layout.is_sound:
            raise UserError(
                f"TemporalInfoNCE predicts sound, {spec.name} makes maps: take PatchInfoNCE, or a "
                "backbone for sound"
            )
        self.spec, self.steps, self.negatives = spec, steps, negatives
        self.sampling, self.window, self.gather = sampling, window, gather
        self.context = context(spec.channels) if context else None
        if self.context:
            self.context.require("sound")
        width = self.context.out_channels if self.context else spec.channels
        self.predictor = nn.Linear(width, steps * spec.channels, bias=False)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """One view or more, each `(B, C, T)`; with several the loss is their mean."""
        return summarise([self._predict(view) for view in local.features])

    def published(self) -> Sequence[Published]:
        """The mean context; nothing without a context network."""
        if self.context is None:
            return ()

        def mean(features: Tensor) -> Tensor:
            return self.summary(features).mean(dim=2)

        width = self.context.out_channels
        return [Published("context", width, self.context, mean, self.summary)]

    def summary(self, features: Tensor) -> Tensor:
        """The context at every position: `(B, C, T)` to `(B, width, T)`."""
        return features if self.context is None else self.context(features)

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse a sequence too short for the steps; reported before training. Any number of views
        will do."""
        positions = features.shape[2]
        if positions <= self.steps:
            raise UserError(
                f"TemporalInfoNCE: {self.spec.name} makes {positions} positions of a window, too "
                f"few for {self.steps} steps; take a longer window (--data.recipe.window) or lower "
                "steps"
            )

    def _predict(self, z: Tensor) -> list[Contrast]:
        self.require_views(z, 1)
        context, z = self.summary(z).transpose(1, 2), z.transpose(1, 2)
        generator = own_generator(z.device)
        length = min(self.window or z.shape[1], z.shape[1])
        begin = int(torch.randint(z.shape[1] - length + 1, ()))
        run = slice(begin, begin + length)
        everyone = gather_batch(z, even=self.training) if self.gather else z
        draw = NegativeDraw(len(everyone), z.shape[1], run, self.negatives, generator)
        draws = getattr(draw, self.sampling)
        first = first_row(z, even=self.training) if self.gather else 0
        anchors: list[Tensor] = []
        positives: list[Tensor] = []
        negatives: list[Tensor] = []
        for step, weight in enumerate(self.predictor.weight.chunk(self.steps), start=1):
            anchors.append(linear(context[:, run][:, :-step], weight).flatten(0, 1))
            positives.append(z[:, run][:, step:].flatten(0, 1))
            drawn = draws(step).unflatten(0, (len(everyone), -1))
            negatives.append(drawn[first : first + len(z)].flatten(0, 1))
        return contrast(anchors, positives, everyone.flatten(0, 1), negatives)

    def extra_repr(self) -> str:
        own = f"steps={self.steps}, negatives={self.negatives}, sampling={self.sampling!r}"
        return own if self.window is None else f"{own}, window={self.window}"


class NegativeDraw:
    """Draws the negatives of one batch: positions in its flattened `(B * T)` order, `(B * (W - k),
    negatives)` for step `k` and a run of `W` positions.

    Args:
        count: sequences, `B`.
        length: positions of each, `T`.
        run: the positions that are anchors and positives.
        negatives: per anchor.
        generator: every draw comes from it.
    """

    def __init__(
        self, count: int, length: int, run: slice, negatives: int, generator: torch.Generator
    ) -> None:
        self.count, self.length, self.run, self.negatives, self.generator = (
            count,
            length,
            run,
            negatives,
            generator,
        )
        self._permutations: Tensor | None = None

    def cyclic(self, step: int) -> Tensor:
        total = self.count * self._targets(step)
        if total < 2:
            raise UserError(
                "TemporalInfoNCE: a batch with one target has no negatives; raise --data.batch_size"
            )
        shape, device = (total, self.negatives), self.generator.device
        offset = torch.randint(1, total, shape, generator=self.generator, device=device)
        shifted = (torch.arange(total, device=device).unsqueeze(1) + offset) % total
        sequence, position = shifted // self._targets(step), shifted % self._targets(step)
        return sequence * self.length + self.run.start + step + position

    def permutation(self, step: int) -> Tensor:
        return self._permuted(self.count * self.length)[:, -self.count * self._targets(step) :].T

    def same_sequence(self, step: int) -> Tensor:
        positions = self._permuted(self.length)[:, self.run][:, step:].T
        sequence = torch.arange(self.count, device=self.generator.device).reshape(-1, 1, 1)
        return (sequence * self.length + positions).flatten(0, 1)

    def _targets(self, step: int) -> int:
        return self.run.stop - self.run.start - step

    def _permuted(self, size: int) -> Tensor:
        """One permutation a negative, the same for all steps."""
        if self._permutations is None:
            device = self.generator.device
            rows = [
                torch.randperm(size, generator=self.generator, device=device)
                for _ in range(self.negatives)
            ]
            self._permutations = torch.stack(rows)
        return self._permutations
