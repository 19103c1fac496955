from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import write_librispeech, write_spoken_digits

from blocklearn import UserError
from blocklearn.data import LibriSpeech, SoundSpec, SpokenDigits, WindowViews
from blocklearn.data.sound.window_length import FEW, require_whole_window


def recordings(folder: Path, lengths: list[int]) -> list[Path]:
    paths = [folder / f"{number:03d}.wav" for number in range(len(lengths))]
    for path, frames in zip(paths, lengths, strict=True):
        soundfile.write(path, np.zeros(frames), 8000)
    return paths


def views(window: int, short: str = "pad", rate: int = 8000) -> WindowViews:
    return WindowViews(SoundSpec(rate), window, hop=80, short=short)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("short", ["pad", "error"])
def test_a_window_longer_than_every_recording_is_refused(tmp_path: Path, short: str) -> None:
    files = recordings(tmp_path, [300, 700, 500])
    require_whole_window(files, views(700, short))
    with pytest.raises(
        UserError,
        match="window of 701 samples .*longest, .*001.wav, has 700 at 8000 Hz; lower --data",
    ):
        require_whole_window(files, views(701, short))


def test_where_short_recordings_are_repeated_any_window_will_do(tmp_path: Path) -> None:
    require_whole_window(recordings(tmp_path, [300]), views(10_000, "repeat"))


def test_the_length_is_that_at_the_rate_at_which_it_is_read(tmp_path: Path) -> None:
    files = recordings(tmp_path, [700])
    require_whole_window(files, views(1400, rate=16000))
    with pytest.raises(UserError, match="has 350 at 4000 Hz"):
        require_whole_window(files, views(351, rate=4000))


def test_one_long_recording_among_many_is_found_with_few_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recordings(tmp_path, [200] * 101 + [900] + [200] * 98)
    read: list[Path] = []
    real = soundfile.info
    monkeypatch.setattr(soundfile, "info", lambda path: (read.append(path), real(path))[1])
    require_whole_window(files, views(900))
    assert len(read) <= 2 * FEW
    read.clear()
    require_whole_window(files, views(200))
    assert len(read) == 1


def test_recordings_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    files = recordings(tmp_path, [300, 700])
    files[1].write_bytes(b"RIFF and no more")
    files.append(tmp_path / "none.wav")
    with pytest.raises(UserError, match="has 300 at 8000 Hz"):
        require_whole_window(files, views(700))
    require_whole_window(files[1:], views(700))  # each of them is told when it is asked for


def test_the_data_modules_ask_before_training(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"window of 24001 samples .* has 24000 at 16000 Hz; lower --data.recipe.window",
    ):
        LibriSpeech(
            write_librispeech(tmp_path / "l"), recipe=lambda spec: WindowViews(spec, window=24001)
        ).setup("fit")
    digits = write_spoken_digits(tmp_path / "d")
    with pytest.raises(UserError, match="window of 9000 samples is longer than every recording"):
        SpokenDigits(
            digits, recipe=lambda spec: WindowViews(spec, window=9000, short="error")
        ).setup("fit")
    SpokenDigits(digits, recipe=lambda spec: WindowViews(spec, window=9000, short="repeat")).setup(
        "fit"
    )
