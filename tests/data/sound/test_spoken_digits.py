from pathlib import Path

import pytest
import soundfile
import torch
from sounds import write_spoken_digits

from blocklearn import UserError
from blocklearn.data import SpokenDigits
from blocklearn.data.sound.speech import Recordings


def names(part: object) -> list[tuple[str, object]]:
    assert isinstance(part, Recordings)
    return [(path.stem, label) for path, label in zip(part.files, part.labels, strict=True)]


def test_recordings_0_to_4_are_for_testing(tmp_path: Path) -> None:
    data = SpokenDigits(
        write_spoken_digits(tmp_path, recordings=12, speakers=("ada",), digits=(7,))
    )
    assert {name for name, _ in names(data.test_samples())} == {
        f"7_ada_{index}" for index in range(5)
    }
    assert {name for name, _ in names(data.pretraining_samples())} == {
        f"7_ada_{index}" for index in range(5, 12)
    }
    assert names(data.probe_samples()) == names(data.pretraining_samples())


def test_the_labels_are_the_digits_or_the_speakers_by_name(tmp_path: Path) -> None:
    write_spoken_digits(tmp_path, speakers=("zoe", "ada"), digits=(4, 9))
    digits, speakers = SpokenDigits(tmp_path), SpokenDigits(tmp_path, target="speaker")
    assert all(label == int(name[0]) for name, label in names(digits.test_samples()))
    assert all(
        label == ["ada", "zoe"].index(name[2:5]) for name, label in names(speakers.test_samples())
    )
    assert (digits.num_classes, speakers.num_classes) == (10, 2)
    assert (digits.target, speakers.target) == ("digit", "speaker")
    assert digits.test_samples()[0][1] == 4


def test_the_recordings_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    inner = write_spoken_digits(tmp_path) / "recordings"
    assert names(SpokenDigits(inner).test_samples()) == names(SpokenDigits(tmp_path).test_samples())


def test_by_default_windows_last_half_a_second_and_short_recordings_are_repeated(
    tmp_path: Path,
) -> None:
    data = SpokenDigits(write_spoken_digits(tmp_path), num_workers=0)
    recording = min(
        (data.test_samples()[index][0] for index in range(30)), key=lambda found: found.frames
    )
    view = data.recipe.plain_view(recording)
    assert view.shape == (1, 4096)
    assert torch.equal(view[0, recording.frames :], view[0, : 4096 - recording.frames])


def test_hidden_files_are_no_recordings(tmp_path: Path) -> None:
    """macOS leaves one beside every file that it copies to another kind of disk."""
    folder = write_spoken_digits(tmp_path) / "recordings"
    (folder / "._0_ada_0.wav").write_bytes(b"\0\5\26\7")
    assert len(SpokenDigits(tmp_path).test_samples()) == len([*folder.glob("[0-9]*_[0-4].wav")])


def test_a_stranger_among_the_files_is_named_before_training(tmp_path: Path) -> None:
    stranger = write_spoken_digits(tmp_path) / "recordings" / "seven_ada_1.wav"
    soundfile.write(stranger, [0.0] * 10, 8000)
    with pytest.raises(UserError, match=f"{stranger} is not named DIGIT_SPEAKER_INDEX.wav"):
        SpokenDigits(tmp_path).setup("fit")


def test_an_empty_or_missing_folder_is_named_before_training(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            UserError,
            match=f"no recordings .* in {folder} .*--data.root, or fetch the set from https://",
        ):
            SpokenDigits(folder).setup("fit")


def test_a_set_without_a_part_for_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no recordings for training"):
        SpokenDigits(write_spoken_digits(tmp_path, recordings=5)).setup("fit")


@pytest.mark.parametrize("index", [0, 6])
def test_a_damaged_recording_is_named_before_training_where_none_may_be(
    tmp_path: Path, index: int
) -> None:
    path = write_spoken_digits(tmp_path) / "recordings" / f"1_bea_{index}.wav"
    whole = path.read_bytes()
    for content in (whole[:600], b"no sound" * 100):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"cannot read the recording {path}: "):
            SpokenDigits(tmp_path, max_corrupt=0).setup("fit")


def test_too_many_damaged_recordings_are_told_before_training(tmp_path: Path) -> None:
    folder = write_spoken_digits(tmp_path) / "recordings"
    for index, name in enumerate(("0_ada_5", "1_ada_0", "2_bea_6")):  # the second is for testing
        (folder / f"{name}.wav").write_bytes(b"RIFF"[:index])
    data = SpokenDigits(tmp_path, max_corrupt=2)
    data.setup("fit")
    assert str(data.unreadable_told()).startswith(
        "3 samples could not be read and were replaced by others: "
    )
    with pytest.raises(
        UserError,
        match=f"recording {folder}/2_bea_6.wav: .*; 2 of 12 samples cannot be read, and 1 may",
    ):
        SpokenDigits(tmp_path).setup("fit")


def test_a_folder_named_like_a_recording_is_none(tmp_path: Path) -> None:
    folder = write_spoken_digits(tmp_path) / "recordings" / "0_ada_9.wav"
    folder.mkdir()
    data = SpokenDigits(tmp_path, max_corrupt=0)
    data.setup("fit")
    assert len(data.pretraining_samples()) == 12


def test_every_header_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SpokenDigits(write_spoken_digits(tmp_path), target="speaker")
    read: list[Path] = []
    real = soundfile.info
    monkeypatch.setattr(soundfile, "info", lambda path: (read.append(path), real(path))[1])
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    assert sorted(read) == sorted((tmp_path / "recordings").iterdir())
