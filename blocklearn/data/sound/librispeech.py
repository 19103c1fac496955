"""LibriSpeech, 100 hours, with speakers and aligned phones."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from blocklearn.data.loader import LabelledSamples
from blocklearn.data.sound.sound_views import WindowViews
from blocklearn.data.sound.speech import Recordings, SoundRecipeFactory, SpeechDataModule
from blocklearn.errors import UserError

NUM_PHONES = 41
UTTERANCE = re.compile(r"\d+-\d+-\d+")
SOUNDS, LISTS = Path("LibriSpeech/train-clean-100"), Path("LibriSpeech100_labels_split")
SOUND_SOURCE = "https://www.openslr.org/12 (train-clean-100.tar.gz)"
LIST_SOURCE = (
    "the lists published with Greedy InfoMax (https://github.com/loeweX/Greedy_InfoMax, "
    "download_audio_data.sh)"
)


class LibriSpeech(SpeechDataModule):
    """LibriSpeech's train-clean-100 (16 kHz, 251 speakers), labelled with speakers or with aligned
    phones.

    Split and labels are those of Greedy InfoMax (arXiv 1905.11786). The recordings lie in
    `root/LibriSpeech/train-clean-100/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac`.
    `root/LibriSpeech100_labels_split` holds the lists `train_split.txt` and `test_split.txt`, one
    utterance a line, and `converted_aligned_phones.txt`, on each line an utterance and one phone (0
    to 40) every 10 ms.

    A speaker's label is the position of its first appearance in the training list. Phones are read
    for the target `phone` only; `frame_labels` is true then. Mean and standard deviation are those
    of the released code, from its 32-bit integers to samples in [-1, 1].

    Args:
        root: folder of the data.
        target: what the probes tell apart: speakers (251), or the phones (41) of each 10 ms.
        recipe: makes the views.
        sample_rate: in Hz.
        batch_size: samples of a batch, over all processes.
        kwargs: the arguments of `KeyedDataModule`.

    Raises:
        UserError: in `setup`, where a list, an utterance or its phones are missing, a line of a
            list cannot be read, or a speaker for testing is not in the training list; when a file
            is asked for that is too short for its phones. It names the file, and the line.
    """

    title = "LibriSpeech-100h"
    targets = ("speaker", "phone")
    mean, std = -0.000678, 0.06301

    def __init__(
        self,
        root: str | Path = "data",
        target: Literal["speaker", "phone"] = "speaker",
        recipe: SoundRecipeFactory = WindowViews,
        sample_rate: int = 16000,
        batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(target, recipe, root, sample_rate, batch_size=batch_size, **kwargs)
        self.frame_labels = target == "phone"

    @property
    def num_classes(self) -> int:
        return NUM_PHONES if self.target == "phone" else len(self._speakers)

    def pretraining_samples(self) -> LabelledSamples:
        return self._train

    def test_samples(self) -> LabelledSamples:
        return self._test

    @cached_property
    def _train(self) -> Recordings:
        return self._part("train_split.txt")

    @cached_property
    def _test(self) -> Recordings:
        return self._part("test_split.txt")

    @cached_property
    def _speakers(self) -> dict[str, int]:
        names = (
            utterance.split("-")[0]
            for utterance in read_list(self.root / LISTS / "train_split.txt")
        )
        return {name: label for label, name in enumerate(dict.fromkeys(names))}

    @cached_property
    def _phones(self) -> dict[str, np.ndarray]:
        return read_phones(self.root / LISTS / "converted_aligned_phones.txt")

    def _part(self, name: str) -> Recordings:
        path = self.root / LISTS / name
        utterances = read_list(path)
        files = [self._file(utterance, path) for utterance in utterances]
        if self.target == "phone":
            return Recordings(
                files,
                [self._phones_of(utterance, path) for utterance in utterances],
                self.sample_rate,
            )
        return Recordings(
            files, [self._speaker_of(utterance, path) for utterance in utterances], self.sample_rate
        )

    def _file(self, utterance: str, path: Path) -> Path:
        folder = self.root / SOUNDS
        if not folder.is_dir():
            raise UserError(
                f"data: there is no folder {folder.resolve()}; name with --data.root the folder "
                f"that holds LibriSpeech and {LISTS}, or fetch the recordings from {SOUND_SOURCE}"
            )
        speaker, chapter, _ = utterance.split("-")
        file = folder / speaker / chapter / f"{utterance}.flac"
        if not file.is_file():
            raise UserError(
                f"data: {path} names {utterance}, but there is no {file}; unpack the recordings of "
                f"{SOUND_SOURCE} anew"
            )
        return file

    def _speaker_of(self, utterance: str, path: Path) -> int:
        speaker = utterance.split("-")[0]
        if speaker not in self._speakers:
            raise UserError(
                f"data: speaker {speaker} of {utterance} in {path} is not in the training list "
                f"train_split.txt; take both lists from one source, {LIST_SOURCE}"
            )
        return self._speakers[speaker]

    def _phones_of(self, utterance: str, path: Path) -> np.ndarray:
        if utterance not in self._phones:
            raise UserError(
                f"data: {utterance} of {path} has no line in converted_aligned_phones.txt beside "
                f"it; take both from one source, {LIST_SOURCE}"
            )
        return self._phones[utterance]


def read_list(path: Path) -> list[str]:
    """The utterances of a list, SPEAKER-CHAPTER-UTTERANCE, one a line.

    Raises:
        UserError: for a file that is missing or empty, or a line of another kind, by its number.
    """
    utterances = []
    for number, line in _lines(path, "one utterance SPEAKER-CHAPTER-UTTERANCE a line"):
        if not UTTERANCE.fullmatch(line):
            raise UserError(
                f"data: line {number} of {path} should be SPEAKER-CHAPTER-UTTERANCE, got "
                f"{line[:60]!r}; mend it"
            )
        utterances.append(line)
    return utterances


def read_phones(path: Path) -> dict[str, np.ndarray]:
    """`(T,)` uint8 by utterance, one phone every 10 ms.

    Raises:
        UserError: for a file that is missing or empty, or a line that cannot be read, by its
            number.
    """
    phones = {}
    for number, line in _lines(path, "an utterance and one phone every 10 ms a line"):
        utterance, *numbers = line.split()
        try:
            values = np.array(numbers, np.int64)
        except (ValueError, OverflowError):
            values = np.array([-1])
        if (
            not UTTERANCE.fullmatch(utterance)
            or not len(values)
            or values.min() < 0
            or values.max() >= NUM_PHONES
        ):
            raise UserError(
                f"data: line {number} of {path} should be SPEAKER-CHAPTER-UTTERANCE and phones "
                f"from 0 to {NUM_PHONES - 1}, got {line[:60]!r}; mend it"
            )
        phones[utterance] = values.astype(np.uint8)
    return phones


def _lines(path: Path, content: str) -> list[tuple[int, str]]:
    """Number, from 1, and text of the lines that are not blank."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        reason = (
            "is missing"
            if isinstance(error, FileNotFoundError)
            else f"cannot be read ({error.strerror})"
        )
        raise UserError(
            f"data: {path.resolve()} {reason}; it should hold {content}, and comes from "
            f"{LIST_SOURCE}"
        ) from error
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    if not lines:
        raise UserError(
            f"data: {path} is empty; it should hold {content}, and comes from {LIST_SOURCE}"
        )
    return lines
