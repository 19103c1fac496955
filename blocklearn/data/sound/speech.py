"""What every data module of recordings shares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blocklearn.backbones.input_spec import InputSpec
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.data.sound.recording import Recording, open_recording
from blocklearn.data.sound.sound_views import SoundSpec, WindowViews
from blocklearn.data.sound.window_length import require_whole_window
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError

FRAMES_A_SECOND = 100  # of labels frame by frame
SoundRecipeFactory = Callable[[SoundSpec], ViewRecipe]


class SpeechDataModule(KeyedDataModule):
    """Subclass it, set the class attributes, and write the data sets; each yields (`Recording`,
    label), as `Recordings` does.

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
        UserError: for a target that is not among `targets`, a rate below 1 and a recipe for images;
            in `setup`, for a window that is longer than every recording for training.
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
        spec = SoundSpec(sample_rate, self.mean, self.std)
        try:
            views = recipe(spec)
        except AttributeError as error:
            if error.obj is not spec:
                raise
            raise UserError(
                f"data: {type(self).__name__} is sound, and the recipe is one for images: it asks "
                f"for the views' {error.name}; add --data.recipe WindowViews"
            ) from error
        super().__init__(views, root, **kwargs)
        self.target = target
        self.sample_rate = sample_rate

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec("sound", self.channels, getattr(self.recipe, "window", None))

    def setup(self, stage: str | None = None) -> None:
        """Look for every recording and label, so that what is missing is told before training, and
        a window that is longer than every recording too."""
        super().setup(stage)
        training = self.pretraining_samples()
        self.test_samples()
        if isinstance(training, Recordings) and isinstance(self.recipe, WindowViews):
            require_whole_window(list(training.files), self.recipe)


class Recordings:
    """Recordings on disk, their labels in memory.

    Args:
        files: of the recordings.
        labels: one per recording: integers, or `(T,)` arrays of integers, one every 10 ms.
        sample_rate: in Hz, at which to read them.

    Raises:
        UnreadableSample: with an item, for a file that cannot be read.
        UserError: with an item, for a file that is too short for its labels, by name.
    """

    def __init__(
        self, files: Sequence[Path], labels: Sequence[int] | Sequence[np.ndarray], sample_rate: int
    ) -> None:
        self.files = files
        self.labels = labels
        self.sample_rate = sample_rate

    def __len__(self) -> int:
        return len(self.files)

    @property
    def paths(self) -> Sequence[Path]:
        return self.files

    def __getitem__(self, index: int) -> tuple[Recording, int | Tensor]:
        label = self.labels[index]
        recording = open_recording(self.files[index], self.sample_rate)
        if not isinstance(label, np.ndarray):
            return recording, label
        frames = recording.frames * FRAMES_A_SECOND // self.sample_rate
        if frames < len(label):
            raise UserError(
                f"data: the recording {recording.path} lasts {frames} frames of 10 ms, but there "
                f"are {len(label)} labels; the sound is cut short, or the labels are another's: "
                "fetch both anew"
            )
        return recording, torch.from_numpy(label).long()
