"""What every data module of recordings shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.recording import Recording, open_recording
from blocklearn.data.sound_views import SoundSpec, WindowViews
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError

SoundRecipeFactory = Callable[[SoundSpec], ViewRecipe]


class SpeechDataModule(KeyedDataModule):
    """Subclass it, set the class attributes, and write the three data sets; each yields (`Recording`, label), as
    `Recordings` does.

    Attributes:
        targets: the labellings there are.
        mean: of samples in [-1, 1].
        std: of samples in [-1, 1].

    Args:
        target: which label the probes take, one of `targets`.
        recipe: builds the views from the `SoundSpec`.
        root: folder of the data.
        sample_rate: in Hz. Recordings of another rate are resampled whenever they are read.
        kwargs: the arguments of `KeyedDataModule`.

    Raises:
        UserError: for a target that is not among `targets` and a rate below 1.
    """

    targets: Sequence[str]
    mean: float = 0.0
    std: float = 1.0

    def __init__(
        self,
        target: str,
        recipe: SoundRecipeFactory = WindowViews,
        root: str | Path = "data",
        sample_rate: int = 16000,
        **kwargs: Any,
    ) -> None:
        if target not in self.targets:
            raise UserError(f"data: target must be one of {', '.join(self.targets)}, got {target}")
        if sample_rate < 1:
            raise UserError(f"data: sample_rate must be at least 1, got {sample_rate}")
        super().__init__(recipe(SoundSpec(sample_rate, self.mean, self.std)), root, **kwargs)
        self.target = target
        self.sample_rate = sample_rate


class Recordings:
    """Recordings on disk, their labels in memory.

    Args:
        files: of the recordings.
        labels: one a recording: integers, or `(T,)` arrays of integers.
        sample_rate: in Hz, at which to read them.
    """

    def __init__(self, files: Sequence[Path], labels: Sequence[int] | Sequence[np.ndarray], sample_rate: int) -> None:
        self.files = files
        self.labels = labels
        self.sample_rate = sample_rate

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Recording, int | Tensor]:
        label = self.labels[index]
        recording = open_recording(self.files[index], self.sample_rate)
        return recording, torch.from_numpy(label).long() if isinstance(label, np.ndarray) else label
