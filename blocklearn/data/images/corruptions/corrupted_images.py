"""Every image of a data set under many corruptions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from blocklearn.batch import Batch
from blocklearn.data.images.corruptions import corrupt
from blocklearn.data.images.corruptions.plain_pixels import PlainPixels
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.unreadable import UnreadableSamples
from blocklearn.seeding import fold_seed

Case = tuple[str, int]  # a corruption and a severity


class CorruptedImages(Dataset[Batch]):
    """An item is one image: its only view, `(1 + cases, H, W, 3)`, uint8, holds the clean pixels
    and then every case. An image is read once for all cases; what is drawn depends on (seed, its
    position in the data set, corruption, severity) alone.

    Args:
        samples: the data set.
        positions: which of its samples, in order.
        plain: makes pixels of a sample.
        cases: (corruption, severity).
        seed: of the draws.
        max_corrupt: as for a data module.
    """

    def __init__(
        self,
        samples: LabelledSamples,
        positions: Sequence[int],
        plain: PlainPixels,
        cases: Sequence[Case],
        seed: int,
        max_corrupt: int | None = None,
    ) -> None:
        self.samples, self.positions, self.plain = samples, positions, plain
        self.cases, self.seed = cases, seed
        self.unreadable = UnreadableSamples(samples, max_corrupt)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, number: int) -> Batch:
        return self.unreadable.read(self._read, self.seed, 0, self.positions[number])

    def _read(self, index: int) -> Batch:
        sample, label = self.samples[index]
        pixels = self.plain(sample)
        seed = fold_seed(self.seed, index)
        made = [corrupt(pixels, name, severity, seed) for name, severity in self.cases]
        views = torch.from_numpy(np.stack([pixels, *made]))
        return Batch([views], torch.as_tensor(label), torch.tensor(index))


class ReadyImages(Dataset[Batch]):
    """Images that were corrupted beforehand, each `(1, size, size, 3)`, uint8, cropped in the
    middle: files of ImageNet-C must not be resized again.

    Args:
        samples: read from a folder.
        positions: which of them, in order.
        crop: makes pixels of an image.
        max_corrupt: as for a data module.
    """

    def __init__(
        self,
        samples: LabelledSamples,
        positions: Sequence[int],
        crop: Any,
        max_corrupt: int | None = None,
    ) -> None:
        self.samples, self.positions, self.crop = samples, positions, crop
        self.unreadable = UnreadableSamples(samples, max_corrupt)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, number: int) -> Batch:
        return self.unreadable.read(self._read, 0, 0, self.positions[number])

    def _read(self, index: int) -> Batch:
        image, label = self.samples[index]
        pixels = torch.from_numpy(self.crop(image))[None]
        return Batch([pixels], torch.as_tensor(label), torch.tensor(index))
