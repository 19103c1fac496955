from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from blocklearn import UserError
from blocklearn.data.sound.recording import open_recording
from blocklearn.errors import UnreadableSample


def write(path: Path, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(path, samples, rate)
    return path


def noise(frames: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (frames, channels))


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_part_is_that_part_of_the_file(tmp_path: Path, kind: str) -> None:
    samples = noise(5000)
    recording = open_recording(write(tmp_path / f"a.{kind}", samples, 16000), 16000)
    assert recording.frames == 5000
    part = recording.read(1200, 700)
    assert part.shape == (1, 700)
    assert part.dtype == torch.float32
    np.testing.assert_allclose(part[0], samples[1200:1900, 0], atol=2**-15)
    assert torch.equal(recording.read(4500, 700), recording.read()[:, 4500:])


def test_only_the_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = open_recording(write(tmp_path / "a.wav", noise(5000), 16000), 16000)
    counts = []
    real = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda self, frames=-1, **rest: (counts.append(frames), real(self, frames, **rest))[1],
    )
    recording.read(1200, 700)
    assert counts == [700]


def test_stereo_is_averaged(tmp_path: Path) -> None:
    samples = noise(300, channels=2)
    recording = open_recording(write(tmp_path / "a.wav", samples, 8000), 8000)
    np.testing.assert_allclose(recording.read()[0], samples.mean(axis=1), atol=2**-15)


def test_stereo_at_48_khz_has_the_length_and_the_pitch_of_16_khz(tmp_path: Path) -> None:
    seconds = np.arange(48000) / 48000
    tone = 0.5 * np.sin(2 * np.pi * 440 * seconds)
    recording = open_recording(write(tmp_path / "a.wav", np.stack([tone, tone], 1), 48000), 16000)
    assert (recording.frames, recording.sample_rate, recording.file_rate) == (16000, 16000, 48000)
    whole = recording.read()
    assert whole.shape == (1, 16000)
    assert whole.dtype == torch.float32
    inner = slice(200, -200)  # the filter knows nothing beyond the ends
    np.testing.assert_allclose(whole[0, inner], tone[::3][inner], atol=3e-3)
    assert torch.equal(recording.read(500, 100), whole[:, 500:600])


@pytest.mark.parametrize(("file_rate", "rate"), [(11025, 8000), (44100, 16000), (8000, 16000)])
def test_the_stated_length_is_the_resampled_one(tmp_path: Path, file_rate: int, rate: int) -> None:
    recording = open_recording(write(tmp_path / "a.wav", noise(1237), file_rate), rate)
    assert recording.read().shape == (1, recording.frames)
    assert recording.frames == int(np.ceil(1237 * rate / file_rate))


def test_a_file_that_is_no_sound_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.flac"
    for content in (b"no sound", b""):
        bad.write_bytes(content)
        with pytest.raises(
            UserError, match=f"cannot read the recording {bad}: .*; mend, fetch anew or remove it"
        ) as caught:
            open_recording(bad, 16000)
        assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"cannot read the recording {tmp_path}/none.wav: there is no such file"
    ):
        open_recording(tmp_path / "none.wav", 16000)


def test_a_recording_without_samples_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "silent.wav", noise(0), 16000)
    with pytest.raises(UserError, match=f"cannot read the recording {path}: it holds no samples"):
        open_recording(path, 16000)


def test_a_file_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.flac", noise(40000), 16000)
    path.write_bytes(path.read_bytes()[:30000])
    recording = open_recording(path, 16000)
    assert recording.read(0, 1000).shape == (1, 1000)
    with pytest.raises(UserError, match=f"cannot read the recording {path}"):
        recording.read(30000, 5000)
    with pytest.raises(UserError, match=f"cannot read the recording {path}"):
        recording.read()


def test_a_file_that_breaks_off_is_named_at_another_rate_too(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.flac", noise(40000), 16000)
    path.write_bytes(path.read_bytes()[:30000])
    recording = open_recording(path, 8000)
    with pytest.raises(UnreadableSample, match=f"cannot read the recording {path}"):
        recording.read(0, 1000)


def test_a_recording_of_which_less_is_there_than_it_says_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.wav", noise(5000), 16000)
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda *_, **__: np.zeros((3000, 1), np.float32)
    )
    for rate in (16000, 8000):
        with pytest.raises(UnreadableSample, match="it breaks off after 3000 samples"):
            open_recording(path, rate).read()


def test_a_wav_that_is_shorter_than_its_header_says_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.wav", noise(2000), 8000)
    whole = path.read_bytes()
    path.write_bytes(whole[:600])
    with pytest.raises(
        UserError,
        match=f"cannot read the recording {path}: it is cut short, 600 bytes of {len(whole)}; mend",
    ):
        open_recording(path, 8000)


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\x24\xf0\xff\x7f"])
def test_a_wav_that_was_piped_does_not_know_its_size_and_is_read(
    tmp_path: Path, size: bytes
) -> None:
    path = write(tmp_path / "piped.wav", noise(2000), 8000)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + size + whole[8:])
    assert open_recording(path, 8000).frames == 2000
