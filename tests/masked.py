"""Small vision transformers whose tokens are masked, and clips, for the tests."""

from functools import partial
from typing import Any

import torch
from small import network, small_data
from torch import Tensor

from blocklearn import Batch, BlockwiseModule
from blocklearn.data import KeyedDataModule
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UnreadableSample
from blocklearn.masks import RandomMask, TubeMask
from blocklearn.objectives import MaskedReconstruction

DECODER: Any = partial(MaskedReconstruction, depth=1, width=12, heads=2)
SMALL: dict[str, Any] = {"img_size": 16, "embed_dim": 24, "depth": 6, "num_heads": 2}
MERGED = [["blocks.1", "blocks.2"], ["blocks.3", "blocks.5"]]
LOCO = [["blocks.1", "blocks.2"], ["blocks.2", "blocks.3"], ["blocks.3", "blocks.5"]]
KINDS: dict[str, dict[str, Any]] = {
    "images": {
        "backbone": "vit_tiny_patch16_224",
        "backbone_kwargs": {**SMALL, "patch_size": 4},
        "mask": RandomMask(),
    },
    "clips": {
        "backbone": "video_vit_tiny",
        "backbone_kwargs": {**SMALL, "patch_size": 4, "frames": 4, "tubelet": 2},
        "mask": TubeMask(0.75),
    },
}


def masked_network(kind: str = "images", **changes: Any) -> BlockwiseModule:
    """Six narrow layers in three blocks; 4 of 16 tokens of an image are visible, 8 of 32 of a
    clip."""
    return network(**{"objective": DECODER, "blocks": 3, **KINDS[kind], **changes})


def masked_data(kind: str = "images", **changes: Any) -> KeyedDataModule:
    """Two batches of four samples an epoch: images in two views, clips in one."""
    settings: dict[str, Any] = {"batch_size": 4, "num_workers": 0, **changes}
    return (
        MovingSquares(**settings)
        if kind == "clips"
        else small_data(image_size=16, num_images=8, **settings)
    )


def masked_batch(kind: str = "images", samples: int = 3) -> Batch:
    """Of one view."""
    generator = torch.Generator().manual_seed(0)
    shape = (samples, 3, 16, 16) if kind == "images" else (samples, 3, 4, 16, 16)
    index = torch.arange(samples)
    return Batch([torch.randn(shape, generator=generator)], index % 2, index)


class Squares:
    """Clips `(3, 4, 16, 16)` of a square that goes up, or down.

    Args:
        count: how many.
        unreadable: positions of those that cannot be read.
    """

    def __init__(self, count: int, unreadable: tuple[int, ...] = ()) -> None:
        self.count, self.unreadable = count, unreadable

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in self.unreadable:
            raise UnreadableSample(f"clip{index}.mp4", "damaged")
        clip = torch.full((3, 4, 16, 16), index / self.count - 0.5)
        for frame in range(4):
            row = 2 * (frame if index % 2 else 3 - frame) + index % 5
            clip[:, frame, row : row + 4, index % 12 : index % 12 + 4] += 1
        return clip, index % 2


class Mirrored(ViewRecipe):
    """One view, flipped or not."""

    num_views = 1

    def training_view(self, sample: Any, view: int) -> Tensor:
        return self.probe_view(sample)

    def probe_view(self, sample: Any) -> Tensor:
        return sample.flip(-1) if torch.rand(()) < 0.5 else sample

    def plain_view(self, sample: Any) -> Tensor:
        return sample


class MovingSquares(KeyedDataModule):
    """Eight clips for training, four for testing."""

    title, num_classes = "moving squares", 2

    def __init__(self, unreadable: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__(Mirrored(), **kwargs)
        self.unreadable = unreadable

    def pretraining_samples(self) -> LabelledSamples:
        return Squares(8, self.unreadable)

    def test_samples(self) -> LabelledSamples:
        return Squares(4)
