"""Several objectives on one block."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.batch import Batch
from blocklearn.objectives.objective import Objective, ObjectiveFactory, ObjectiveOutput


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
        self.pooled_width = next(
            (part.pooled_width for part in parts if part.pooled_width is not None), None
        )

    def forward(self, features: Sequence[Tensor], batch: Batch) -> ObjectiveOutput:
        """One map a view, e.g. `(B, C, H, W)`, to the weighted sum of the parts' losses."""
        total = features[0].new_zeros(())
        metrics: dict[str, Tensor] = {}
        embeddings: Sequence[Tensor] = ()
        for (name, part), weight in zip(self.parts.items(), self.weights, strict=True):
            output: ObjectiveOutput = part(features, batch)
            total = total + weight * output.loss
            metrics |= {f"{name}/{key}": value for key, value in output.metrics.items()}
            metrics[f"{name}/loss"] = output.loss.detach()
            embeddings = embeddings or output.embeddings
        return ObjectiveOutput(total, metrics, embeddings)

    def require_views(self, features: Tensor, num_views: int) -> None:
        """Refuse what one of the parts refuses."""
        for part in self.parts.values():
            part.require_views(features, num_views)  # pyright: ignore[reportCallIssue]

    def pooled(self, features: Tensor) -> Tensor:
        for part in self.parts.values():
            if isinstance(part, Objective) and part.pooled_width is not None:
                return part.pooled(features)
        return super().pooled(features)

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


def _names(parts: Sequence[nn.Module]) -> list[str]:
    kinds = [type(part).__name__.lower() for part in parts]
    return [
        f"{kind}{kinds[: position + 1].count(kind)}" if kinds.count(kind) > 1 else kind
        for position, kind in enumerate(kinds)
    ]
