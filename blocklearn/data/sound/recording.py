"""One sound file, read a part at a time."""

from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from blocklearn.data.whole_file import cut_short
from blocklearn.errors import UnreadableSample


@dataclass(frozen=True, slots=True)
class Recording:
    """A sound file of any format that libsndfile reads (wav, flac, ogg, mp3); `open_recording`
    makes one.

    Attributes:
        path: of the file.
        frames: length in samples at `sample_rate`.
        sample_rate: in Hz, at which the recording is read.
        file_rate: in Hz, at which it is stored. Where the two differ, every `read` reads the whole
            file and resamples it (scipy.signal.resample_poly with its default filter): convert a
            large data set once beforehand.
    """

    path: Path
    frames: int
    sample_rate: int
    file_rate: int

    def read(self, start: int = 0, frames: int | None = None) -> Tensor:
        """`(1, L)` float32 in [-1, 1], the channels averaged. From the file only this part is read.

        Args:
            start: first sample, in `[0, frames)`.
            frames: L; null for all that follow. Fewer come where the recording ends before.

        Raises:
            UnreadableSample: for a file that cannot be read, by name.
        """
        stop = self.frames if frames is None else min(start + frames, self.frames)
        if self.file_rate == self.sample_rate:
            samples = self._read_file(start, stop - start)
        else:
            samples = self._resampled()[start:stop]
        return torch.from_numpy(np.ascontiguousarray(samples)).unsqueeze(0)

    def _resampled(self) -> np.ndarray:
        from scipy.signal import resample_poly  # takes more than a second to import

        up, down = _ratio(self.file_rate, self.sample_rate)
        return resample_poly(self._read_file(0, -1), up, down)

    def _read_file(self, start: int, frames: int) -> np.ndarray:
        """`(L,)` float32; all that follow where `frames` is -1."""
        try:
            with soundfile.SoundFile(self.path) as file:
                file.seek(start)
                wanted = file.frames if frames < 0 else frames
                samples = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
        except Exception as error:  # a damaged header may ask for more than there is memory
            raise _unreadable(self.path, error) from error
        if len(samples) < wanted:
            raise _unreadable(self.path, f"it breaks off after {start + len(samples)} samples")
        return samples


def open_recording(path: Path, sample_rate: int) -> Recording:
    """The recording in a file, of which only the header is read.

    Args:
        path: of the file.
        sample_rate: in Hz, at which to read it.

    Raises:
        UnreadableSample: for a file that is missing, empty or no sound file, and for a wav that is
            shorter than its RIFF header says, by name.
    """
    try:
        about = soundfile.info(path)
        if about.frames == 0:
            raise _unreadable(path, "it holds no samples")
        # libsndfile takes a wav that was cut short for a shorter recording
        if reason := cut_short(path):
            raise _unreadable(path, reason)
    except UnreadableSample:
        raise
    except Exception as error:
        raise _unreadable(path, error if path.is_file() else "there is no such file") from error
    up, down = _ratio(about.samplerate, sample_rate)
    return Recording(path, -(-about.frames * up // down), sample_rate, about.samplerate)


def _ratio(file_rate: int, sample_rate: int) -> tuple[int, int]:
    common = gcd(file_rate, sample_rate)
    return sample_rate // common, file_rate // common


def _unreadable(path: Path, reason: object) -> UnreadableSample:
    return UnreadableSample(path, reason, "recording")
