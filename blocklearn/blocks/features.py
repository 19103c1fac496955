"""The features of a network in blocks that are worth probing."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blocklearn.blocks.block import Block
from blocklearn.errors import UserError
from blocklearn.objectives.objective import Published

CONCATENATED = "concatenated"


class FeatureSpec(NamedTuple):
    """A vector worth probing.

    Attributes:
        stage: name of the stage, e.g. `layer1`.
        index: position of the stage, from 1.
        kind: `raw`, `head` or `context`; of those that must be asked for `projector`, the output of
            an objective's projector, and `concatenated`, the raw features of all stages in a row,
            which counts as one of the last stage.
        width: number of components.
    """

    stage: str
    index: int
    kind: str
    width: int

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.kind}"


def feature_specs(
    blocks: Sequence[Block], frames: bool = False, kinds: Sequence[str] | None = None
) -> list[FeatureSpec]:
    """What `stage_features` makes, in its order: `raw`, the global average at the end of every
    stage, and what the objective of a block publishes. Where two blocks publish the same kind on
    one stage, as an empty block may, the later one's is called `STAGE.BLOCK`.

    Args:
        blocks: of a network, in order.
        frames: only those that have a value per position, as `frame_features` makes them.
        kinds: these alone, where the network has them; null for `raw` and what is published.

    Raises:
        UserError: for no kinds, and for one that no block has.
    """
    features: list[FeatureSpec] = []
    index = 0
    for block in blocks:
        for spec in block.specs:
            index += 1
            features.append(FeatureSpec(spec.name, index, "raw", spec.channels))
        for published in _published(block, kinds is not None):
            if frames and published.frames is None:
                continue
            taken = [spec.stage for spec in features if spec.kind == published.kind]
            stage = block.published_at(taken)
            features.append(FeatureSpec(stage, index, published.kind, published.width))
    if kinds is None:
        return features
    raw = [spec for spec in features if spec.kind == "raw"]
    width = sum(spec.width for spec in raw)
    features.append(FeatureSpec(raw[-1].stage, raw[-1].index, CONCATENATED, width))
    there = dict.fromkeys(spec.kind for spec in features)
    strange = [kind for kind in kinds if kind not in there]
    if strange or not kinds:
        asked = ", ".join(strange) or "nothing"
        raise UserError(
            f"evaluation: features asks for {asked}; this network has {', '.join(there)}"
        )
    return [spec for spec in features if spec.kind in kinds]


def stage_features(
    blocks: Sequence[Block], x: Tensor, kinds: Sequence[str] | None = None
) -> Iterator[Tensor]:
    """Vectors worth probing, each `(B, width)`, as `feature_specs` lists them."""
    raw: list[Tensor] = []
    for block in blocks:
        for stage in block.stages:
            x = stage(x)
            average: Tensor = stage.spec.average(x)  # pyright: ignore
            if kinds is None or "raw" in kinds:
                yield average
            if kinds is not None and CONCATENATED in kinds:
                raw.append(average)
        for published in _published(block, kinds is not None):
            if kinds is None or published.kind in kinds:
                yield published.feature(x)
    if raw:
        yield torch.cat(raw, dim=1)


def frame_features(blocks: Sequence[Block], x: Tensor) -> Iterator[tuple[Tensor, int]]:
    """The same before the mean over time, for sound: each `(B, width, T)`, with its samples per
    position. What has no value per position is left out."""
    for block in blocks:
        for stage in block.stages:
            x = stage(x)
            yield x, stage.spec.stride  # pyright: ignore
        for published in block.objective.published():
            if published.frames is not None:
                yield published.frames(x), block.spec.stride


def _published(block: Block, all_of_them: bool) -> list[Published]:
    further = block.objective.further() if all_of_them else ()
    return [*block.objective.published(), *further]
