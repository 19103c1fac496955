"""Windows of recordings: the views of speech."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from blocklearn.data.sound.recording import Recording
from blocklearn.data.view_recipe import ViewRecipe
from blocklearn.errors import UserError


@dataclass(frozen=True, slots=True)
class SoundSpec:
    """What a data set asks of a recipe.

    Attributes:
        sample_rate: in Hz.
        mean: of samples in [-1, 1].
        std: of samples in [-1, 1].
    """

    sample_rate: int
    mean: float = 0.0
    std: float = 1.0


class WindowViews(ViewRecipe):
    """One window of a recording, `(1, window)`, normalised, as Greedy InfoMax (arXiv 1905.11786)
    has it. For training and probing its start is drawn uniformly from the multiples of `hop` that
    leave a whole window; for testing it lies in the middle, its start rounded down to a multiple of
    `hop`.

    Two deviations from the released code: a window may start at 0 (there the first start is `hop`,
    and a recording of window + hop samples or less stops the training), and the windows of testing
    are not drawn.

    Args:
        spec: sampling rate and statistics of the recordings.
        window: length in samples; 20480 are 1.28 s at 16 kHz.
        hop: in samples; 10 ms at 16 kHz. With a label every 10 ms it must be a hundredth of the
            sampling rate.
        short: what becomes of a recording shorter than the window. `pad`: zeros, which is silence,
            follow it; `repeat`: it is played again until the window is full; `error`: it is
            refused.

    Raises:
        ValueError: for a window or hop below 1, or another word for `short`.
        UserError: for images, whose data set gives an `ImageSpec`.
    """

    num_views = 1
    channels = 1

    def __init__(
        self,
        spec: SoundSpec,
        window: int = 20480,
        hop: int = 160,
        short: Literal["pad", "repeat", "error"] = "pad",
    ) -> None:
        if window < 1 or hop < 1:
            raise ValueError(f"window and hop must be at least 1, got {window} and {hop}")
        if short not in ("pad", "repeat", "error"):
            raise ValueError(f"short must be pad, repeat or error, got {short}")
        if not isinstance(spec, SoundSpec):
            raise UserError(
                "data: the recipe WindowViews is one for sound, the data set has images; choose "
                "one for images with --data.recipe, e.g. SmallImageViews"
            )
        self.spec, self.window, self.hop, self.short = spec, window, hop, short

    def training_view(self, sample: Recording, view: int) -> Tensor:
        return self.probe_view(sample)

    def probe_view(self, sample: Recording) -> Tensor:
        return self._view(sample, self._draw_start(sample))

    def view_label(self, sample: Recording, label: Tensor) -> Tensor:
        """A label every 10 ms of the window, from 5 ms before its start on, as published; -1 before
        the first and behind the last."""
        frame = self.spec.sample_rate // 100
        first = (self._draw_start(sample) - frame // 2) // frame
        kept = torch.full((self.window // frame,), -1)
        known = label[max(first, 0) : first + len(kept)]
        kept[max(-first, 0) :][: len(known)] = known
        return kept

    def plain_view(self, sample: Recording) -> Tensor:
        middle = max(0, sample.frames - self.window) // 2
        return self._view(sample, middle - middle % self.hop)

    def whole_view(self, sample: Recording) -> Tensor:
        """`(1, L)`: the whole recording, cut at its end to a multiple of `hop`, normalised. No
        randomness.

        Raises:
            UserError: for a recording shorter than `hop`, by file name.
        """
        frames = sample.frames - sample.frames % self.hop
        if frames == 0:
            raise UserError(
                f"data: the recording {sample.path} has {sample.frames} samples, fewer than one "
                f"hop of {self.hop}; remove it"
            )
        return self._normalised(sample.read(0, frames))

    def _draw_start(self, sample: Recording) -> int:
        starts = max(0, sample.frames - self.window) // self.hop + 1
        return self.hop * int(torch.randint(starts, ()))

    def _view(self, sample: Recording, start: int) -> Tensor:
        samples = sample.read(start, self.window)
        missing = self.window - samples.shape[1]
        if missing and self.short == "error":
            raise UserError(
                f"data: the recording {sample.path} has {sample.frames} samples at "
                f"{sample.sample_rate} Hz, fewer than the window of {self.window}; lower "
                "--data.recipe.window, set --data.recipe.short to pad or repeat, or remove it"
            )
        if missing and self.short == "repeat":
            samples = samples.repeat(1, -(-self.window // samples.shape[1]))[:, : self.window]
        elif missing:
            samples = torch.nn.functional.pad(samples, (0, missing))
        return self._normalised(samples)

    def _normalised(self, samples: Tensor) -> Tensor:
        return (samples - self.spec.mean) / self.spec.std
