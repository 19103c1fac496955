"""Several objectives on one block."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError
from blocklearn.objectives.objective import (
    LocalBatch,
    Objective,
    ObjectiveFactory,
    ObjectiveOutput,
    Published,
    Tokens,
)
from blocklearn.training.contract import Clock, LocalBlock


class Combined(Objective):
    """A weighted sum of objectives on the same features, e.g. a supervised loss beside a
    self-supervised one.

    Metrics of a part, and its loss before weighting, are named after its class:
    `supervised/accuracy`, `jointembedding/loss`; parts of one class are counted: `supervised1`,
    `supervised2`. Embeddings and the pooled feature are those of the first part that has them.

    Args:
        spec: the block's last stage.
        objectives: each builds a part from the `StageSpec`.
        weights: one a part, >= 0 and not all 0; all 1 where null.

    Raises:
        ValueError: for no objectives, or weights that are negative, not finite, all 0 or not as
            many.
        UserError: for parts of which some need a mask and some take all tokens.
    """

    def __init__(
        self,
        spec: StageSpec,
        objectives: list[ObjectiveFactory],
        weights: list[float] | None = None,
    ) -> None:
        super().__init__()
        weights = [1.0] * len(objectives) if weights is None else weights
        sound = all(0 <= weight < math.inf for weight in weights) and any(weights)
        if not objectives or len(weights) != len(objectives) or not sound:
            raise ValueError(
                "Combined needs at least one objective and a weight >= 0 for each, finite and not "
                f"all 0, got {len(objectives)} and {weights}"
            )
        parts = [objective(spec) for objective in objectives]
        self.weights = list(weights)
        self.parts = nn.ModuleDict(dict(zip(_names(parts), parts, strict=True)))
        for part in parts:
            self.labels = self.labels if part.labels == "none" else part.labels
        self.needs_images = any(part.needs_images for part in parts)
        self.reads_others = any(part.reads_others for part in parts)
        self.tokens = _tokens_of(parts)

    def join(self, index: int, blocks: Sequence[LocalBlock]) -> None:
        for part in self._parts.values():
            part.join(index, blocks)

    def bind(self, stages: Sequence[nn.Module]) -> None:
        for part in self._parts.values():
            part.bind(stages)

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        """One map per view, e.g. `(B, C, H, W)`, to the weighted sum of the parts' losses."""
        total = local.features[0].new_zeros(())
        metrics: dict[str, Tensor] = {}
        extras: dict[str, Any] = {}
        for (name, part), weight in zip(self._parts.items(), self.weights, strict=True):
            output: ObjectiveOutput = part(local)
            total = total + weight * output.loss
            metrics |= {f"{name}/{key}": value for key, value in output.metrics.items()}
            metrics[f"{name}/loss"] = output.loss.detach()
            extras |= output.extras
        return ObjectiveOutput(total, metrics, extras)

    def after_update(self, clock: Clock) -> None:
        for part in self._parts.values():
            part.after_update(clock)

    def hand_on(self, local: LocalBatch) -> Mapping[str, Any]:
        extras: dict[str, Any] = {}
        for part in self._parts.values():
            extras |= part.hand_on(local)
        return extras

    def published(self) -> Sequence[Published]:
        """Those of all parts; where two are of one kind, the later one is named after its part."""
        return _told_apart({name: part.published() for name, part in self._parts.items()})

    def further(self) -> Sequence[Published]:
        return _told_apart({name: part.further() for name, part in self._parts.items()})

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse what one of the parts refuses."""
        for part in self._parts.values():
            part.require_views(features, num_views)

    @property
    def _parts(self) -> dict[str, Objective]:
        return dict(self.parts.items())  # pyright: ignore[reportReturnType]

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


def _tokens_of(parts: Sequence[Objective]) -> Tokens:
    takes: list[Tokens] = [part.tokens for part in parts if part.tokens != "any"]
    if len(set(takes)) > 1:
        names = ", ".join(type(part).__name__ for part in parts)
        raise UserError(
            f"Combined: of {names} some take the features of all tokens and some of those alone "
            "that a mask leaves; give the parts a block of their own each, or leave one out"
        )
    return takes[0] if takes else "any"


def _told_apart(features: Mapping[str, Sequence[Published]]) -> list[Published]:
    found: dict[str, Published] = {}
    for name, of_part in features.items():
        for feature in of_part:
            kind = f"{name}_{feature.kind}" if feature.kind in found else feature.kind
            found[kind] = feature._replace(kind=kind)
    return list(found.values())


def _names(parts: Sequence[nn.Module]) -> list[str]:
    kinds = [type(part).__name__.lower() for part in parts]
    return [
        f"{kind}{kinds[: position + 1].count(kind)}" if kinds.count(kind) > 1 else kind
        for position, kind in enumerate(kinds)
    ]
