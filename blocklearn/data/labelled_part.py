"""A part of the labels: the 1 % and 10 % protocols of semi-supervised evaluation."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from blocklearn.data.loader import LabelledImages
from blocklearn.errors import UserError
from blocklearn.seeding import fold_seed


class ImagesAt:
    """Some of the images of a data set.

    Args:
        images: the data set.
        positions: of the images that are kept.
    """

    def __init__(self, images: LabelledImages, positions: Sequence[int]) -> None:
        self.images = images
        self.positions = positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self.images[self.positions[index]]


def stratified_part(images: LabelledImages, part: float, seed: int) -> ImagesAt:
    """The same part of every class, at least one image of each; which ones depends on `seed` alone.

    Args:
        images: labelled images.
        part: of every class, in (0, 1].
        seed: of the draw.

    Raises:
        UserError: for a part out of range.
    """
    if not 0 < part <= 1:
        raise UserError(f"probe: labelled_part must lie above 0 and be at most 1, got {part}")
    labels = read_labels(images)
    kept: list[int] = []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=torch.Generator().manual_seed(fold_seed(seed, label)))
        kept += members[order[: max(1, round(part * len(members)))]].tolist()
    return ImagesAt(images, sorted(kept))


def read_labels(images: LabelledImages) -> Tensor:
    """`(N,)` integers: the data set's own `labels` where it has them; otherwise every image is read."""
    labels = getattr(images, "labels", None)
    return torch.as_tensor([images[index][1] for index in range(len(images))] if labels is None else labels)
