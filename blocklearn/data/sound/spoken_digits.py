"""The Free Spoken Digit Dataset."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from blocklearn.data.listing import is_data
from blocklearn.data.loader import LabelledSamples
from blocklearn.data.sound.recording import open_recording
from blocklearn.data.sound.sound_views import WindowViews
from blocklearn.data.sound.speech import Recordings, SoundRecipeFactory, SpeechDataModule
from blocklearn.errors import UnreadableSample, UserError

FILE_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)\.wav")
TEST_INDICES = range(5)
SOURCE = "https://github.com/Jakobovski/free-spoken-digit-dataset"


class SpokenDigits(SpeechDataModule):
    """3,000 recordings at 8 kHz of the ten digits by six speakers, 0.14 to 2.3 s long.

    They lie in `root/recordings` or in `root` itself, as `DIGIT_SPEAKER_INDEX.wav`. As the set's
    authors have it, recordings 0 to 4 of each digit and speaker are for testing, the others for
    training.

    Mean and standard deviation of the samples are measured on the set.

    Args:
        root: folder of the data.
        target: what the probes tell apart: the digits (10), or the speakers in the order of their
            names (6).
        recipe: builds the views; by default windows of 0.5 s, a shorter recording repeated.
        sample_rate: in Hz.
        batch_size: samples of a batch, over all processes.
        kwargs: the arguments of `KeyedDataModule`.

    Raises:
        UserError: in `setup`, where recordings are missing, a file is not named like one, or more
            than `max_corrupt` of those for training or testing have a header that cannot be read or
            promises more than there is. It names folder or file.
    """

    title = "spoken digits"
    targets = ("digit", "speaker")
    mean, std = -0.00097, 0.0608

    def __init__(
        self,
        root: str | Path = "data/fsdd",
        target: Literal["digit", "speaker"] = "digit",
        recipe: SoundRecipeFactory = lambda spec: WindowViews(
            spec, window=4096, hop=80, short="repeat"
        ),
        sample_rate: int = 8000,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(target, recipe, root, sample_rate, batch_size=batch_size, **kwargs)
        self._headers_read = False

    @property
    def num_classes(self) -> int:
        return 10 if self.target == "digit" else len(self._speakers)

    def setup(self, stage: str | None = None) -> None:
        """All headers are read, once: 0.2 s for the whole set, and too many damaged ones do not
        stop the training later."""
        super().setup(stage)
        if not self._headers_read:
            self._read_headers(self._train)
            self._read_headers(self._test)
            self._headers_read = True

    def pretraining_samples(self) -> LabelledSamples:
        return self._train

    def test_samples(self) -> LabelledSamples:
        return self._test

    @cached_property
    def _train(self) -> Recordings:
        return self._part(test=False)

    @cached_property
    def _test(self) -> Recordings:
        return self._part(test=True)

    def _part(self, test: bool) -> Recordings:
        chosen = [name for name in self._names if (int(name["index"]) in TEST_INDICES) == test]
        if not chosen:
            raise UserError(
                f"data: {self._folder} has no recordings for "
                f"{'testing (0 to 4)' if test else 'training (5 and above)'} of each digit and "
                f"speaker; fetch the whole set from {SOURCE}"
            )
        labels = [
            int(n["digit"]) if self.target == "digit" else self._speakers.index(n["speaker"])
            for n in chosen
        ]
        return Recordings([self._folder / name.string for name in chosen], labels, self.sample_rate)

    def _read_headers(self, part: Recordings) -> None:
        unreadable = self._unreadable(part)
        for path in part.files:
            try:
                open_recording(path, self.sample_rate)
            except UnreadableSample as error:
                unreadable.note(error)

    @property
    def _folder(self) -> Path:
        inner = self.root / "recordings"
        return inner if inner.is_dir() else self.root

    @cached_property
    def _speakers(self) -> list[str]:
        return sorted({name["speaker"] for name in self._names})

    @cached_property
    def _names(self) -> list[re.Match[str]]:
        """Of the recordings."""
        found = []
        for path in sorted(self._folder.glob("*.wav")):
            if path.is_dir() or not is_data(path.name):
                continue
            name = FILE_NAME.fullmatch(path.name)
            if name is None:
                raise UserError(
                    f"data: {path} is not named DIGIT_SPEAKER_INDEX.wav, like 7_jackson_32.wav; "
                    "rename or remove it"
                )
            found.append(name)
        if not found:
            raise UserError(
                f"data: there are no recordings DIGIT_SPEAKER_INDEX.wav in {self.root.resolve()} "
                "nor in its folder recordings; name the folder with --data.root, or fetch the set "
                f"from {SOURCE}"
            )
        return found
