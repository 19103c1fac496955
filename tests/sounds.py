"""Small speech sets on disk: sums of sines whose pitch is the speaker and whose overtone is the
digit or the phone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

FRAMES_A_SECOND = 100
PHONES = (3, 11, 24, 40)  # those that `write_librispeech` speaks, of 41


def tone(
    speaker: int, overtones: np.ndarray, sample_rate: int, draw: np.random.Generator
) -> np.ndarray:
    """`(L,)` samples in [-1, 1]. `overtones`: `(L,)`, number of the second tone in every sample."""
    seconds = np.arange(len(overtones)) / sample_rate
    pitch, second = 110 * 1.4**speaker, 500 + 130 * overtones
    voice = np.sin(2 * np.pi * pitch * seconds + draw.uniform(0, 2 * np.pi))
    voice += np.sin(2 * np.pi * np.cumsum(second) / sample_rate + draw.uniform(0, 2 * np.pi))
    return 0.1 * voice + 0.01 * draw.normal(size=len(voice))


def write_spoken_digits(
    folder: Path,
    recordings: int = 7,
    speakers: Sequence[str] = ("ada", "bea"),
    digits: Sequence[int] = range(3),
) -> Path:
    """The layout of the Free Spoken Digit Dataset in `folder/recordings`: wav at 8 kHz, 0.2 to 0.6
    s. Recordings 0 to 4 are for testing, so that 7 leave two for training. Returns the folder."""
    draw = np.random.default_rng(0)
    (folder / "recordings").mkdir(parents=True, exist_ok=True)
    for digit in digits:
        for number, speaker in enumerate(speakers):
            for index in range(recordings):
                samples = tone(number, np.full(draw.integers(1600, 4800), digit), 8000, draw)
                soundfile.write(
                    folder / "recordings" / f"{digit}_{speaker}_{index}.wav", samples, 8000
                )
    return folder


def write_librispeech(
    folder: Path, speakers: int = 2, utterances: int = 4, seconds: float = 1.5
) -> Path:
    """The layout of LibriSpeech's train-clean-100 with lists and phones: flac at 16 kHz. The last
    utterance of each speaker is for testing; a phone lasts 0.1 s. Returns the folder."""
    draw = np.random.default_rng(0)
    lists: dict[str, list[str]] = {
        "train_split": [],
        "test_split": [],
        "converted_aligned_phones": [],
    }
    for speaker in range(speakers):
        chapter = folder / "LibriSpeech" / "train-clean-100" / f"{90 - speaker}" / "7"
        chapter.mkdir(parents=True)
        for index in range(utterances):
            name = f"{90 - speaker}-7-{index:04d}"
            frames = np.repeat(draw.choice(PHONES, size=int(10 * seconds) + 1), 10)[
                : int(FRAMES_A_SECOND * seconds)
            ]
            samples = tone(speaker, np.repeat(frames, 160), 16000, draw)
            soundfile.write(chapter / f"{name}.flac", samples, 16000)
            lists["test_split" if index == utterances - 1 else "train_split"].append(name)
            lists["converted_aligned_phones"].append(" ".join([name, *map(str, frames)]))
    labels = folder / "LibriSpeech100_labels_split"
    labels.mkdir()
    for name, lines in lists.items():
        (labels / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder
