"""The features of a network in blocks that are worth probing."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from blocklearn.blocks.block import Block


class FeatureSpec(NamedTuple):
    """A vector worth probing.

    Attributes:
        stage: name of the stage, e.g. `layer1`.
        index: position of the stage, from 1.
        kind: `raw`, `head` or `context`.
        width: number of components.
    """

    stage: str
    index: int
    kind: str
    width: int

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.kind}"


def feature_specs(blocks: Sequence[Block], frames: bool = False) -> list[FeatureSpec]:
    """What `stage_features` makes, in its order: `raw`, the global average at the end of every
    stage, and what the objective of a block publishes. Where two blocks publish the same kind on
    one stage, as an empty block may, the later one's is called `STAGE.BLOCK`.

    Args:
        blocks: of a network, in order.
        frames: only those that have a value per position, as `frame_features` makes them.
    """
    features: list[FeatureSpec] = []
    index = 0
    for block in blocks:
        for spec in block.specs:
            index += 1
            features.append(FeatureSpec(spec.name, index, "raw", spec.channels))
        for published in block.objective.published():
            if frames and published.frames is None:
                continue
            taken = [spec.stage for spec in features if spec.kind == published.kind]
            stage = block.published_at(taken)
            features.append(FeatureSpec(stage, index, published.kind, published.width))
    return features


def stage_features(blocks: Sequence[Block], x: Tensor) -> Iterator[Tensor]:
    """Vectors worth probing, each `(B, width)`, as `feature_specs` lists them."""
    for block in blocks:
        for stage in block.stages:
            x = stage(x)
            yield stage.spec.average(x)  # pyright: ignore
        for published in block.objective.published():
            yield published.feature(x)


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
