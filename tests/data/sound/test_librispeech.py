from pathlib import Path

import pytest
import soundfile
from sounds import write_librispeech

from blocklearn import UserError
from blocklearn.data import LibriSpeech
from blocklearn.data.sound.speech import Recordings

LISTS = "LibriSpeech100_labels_split"


def refused(root: Path, message: str, target: str = "speaker") -> None:
    with pytest.raises(UserError, match=message) as caught:
        LibriSpeech(root, target=target).setup("fit")  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)


def test_a_speakers_label_is_its_first_appearance_in_the_training_list(tmp_path: Path) -> None:
    write_librispeech(tmp_path, speakers=3)
    path = tmp_path / LISTS / "train_split.txt"
    path.write_text("\n".join(reversed(path.read_text().split())))
    data = LibriSpeech(tmp_path)
    data.setup()
    train, test = data.pretraining_samples(), data.test_samples()
    assert isinstance(train, Recordings)
    assert isinstance(test, Recordings)
    assert [path.parts[-3] for path in test.files] == ["90", "89", "88"]
    assert test.labels == [2, 1, 0]
    assert train.labels == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.num_classes == 3
    assert data.probe_samples() is train


def test_there_are_41_phones(tmp_path: Path) -> None:
    data = LibriSpeech(write_librispeech(tmp_path), target="phone")
    assert (data.num_classes, data.frame_labels, data.target) == (41, True, "phone")
    assert not LibriSpeech(tmp_path).frame_labels


def test_the_defaults_are_the_papers(tmp_path: Path) -> None:
    data = LibriSpeech(write_librispeech(tmp_path))
    recipe = data.recipe
    assert (recipe.window, recipe.hop, data.batch_size) == (20480, 160, 8)
    # The released code has (x + 1456218.75) / 135303504 on signed 32-bit integers.
    assert recipe.spec.mean == pytest.approx(-1456218.75 / 2**31, rel=1e-3)
    assert recipe.spec.std == pytest.approx(135303504 / 2**31, rel=1e-3)
    assert recipe.spec.sample_rate == 16000


def test_one_header_is_read_before_training_and_no_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_librispeech(tmp_path)
    (tmp_path / LISTS / "converted_aligned_phones.txt").unlink()  # speakers do not need it
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    read: list[Path] = []
    real = soundfile.info
    monkeypatch.setattr(soundfile, "info", lambda path: (read.append(path), real(path))[1])
    LibriSpeech(tmp_path).setup("fit")
    assert len(read) == 1


@pytest.mark.parametrize(
    "name", ["train_split.txt", "test_split.txt", "converted_aligned_phones.txt"]
)
def test_a_missing_or_empty_list_is_named(tmp_path: Path, name: str) -> None:
    path = write_librispeech(tmp_path) / LISTS / name
    path.write_text("\n")
    refused(
        tmp_path,
        f"{path} is empty; it should hold .* a line, and comes from .*https://",
        target="phone",
    )
    path.unlink()
    refused(
        tmp_path,
        f"{path} is missing; it should hold .* a line, and comes from .*https://",
        target="phone",
    )


def test_a_missing_folder_of_recordings_is_named(tmp_path: Path) -> None:
    write_librispeech(tmp_path)
    (tmp_path / "LibriSpeech").rename(tmp_path / "elsewhere")
    refused(
        tmp_path,
        f"there is no folder {tmp_path}/LibriSpeech/train-clean-100; name with --data.root",
    )


def test_a_missing_utterance_is_named(tmp_path: Path) -> None:
    gone = write_librispeech(tmp_path) / "LibriSpeech/train-clean-100/89/7/89-7-0003.flac"
    gone.unlink()
    refused(tmp_path, f"test_split.txt names 89-7-0003, but there is no {gone}; .*openslr")


def test_an_utterance_without_phones_is_named(tmp_path: Path) -> None:
    path = write_librispeech(tmp_path) / LISTS / "converted_aligned_phones.txt"
    path.write_text(
        "".join(
            line for line in path.read_text().splitlines(True) if not line.startswith("90-7-0001")
        )
    )
    refused(
        tmp_path,
        "90-7-0001 of .*train_split.txt has no line in converted_aligned_phones.txt",
        target="phone",
    )


def test_a_speaker_that_training_lacks_is_named(tmp_path: Path) -> None:
    path = write_librispeech(tmp_path) / LISTS / "train_split.txt"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if line.startswith("90"))
    )
    refused(tmp_path, "speaker 89 of 89-7-0003 in .*test_split.txt is not in the training list")


@pytest.mark.parametrize("line", ["90-7", "90-7-0000.flac", "../90-7-0000", "90-7-0000 1"])
def test_a_malformed_line_of_a_list_is_given_by_number(tmp_path: Path, line: str) -> None:
    path = write_librispeech(tmp_path) / LISTS / "test_split.txt"
    path.write_text(f"90-7-0003\n\n{line}\n")
    refused(tmp_path, f"line 3 of {path} should be SPEAKER-CHAPTER-UTTERANCE, got '{line}'")


@pytest.mark.parametrize(
    "line", ["90-7-0001", "90-7-0001 3 x", "90-7-0001 3 41", "90-7-0001 -1", "first 3 4"]
)
def test_a_malformed_line_of_phones_is_given_by_number(tmp_path: Path, line: str) -> None:
    path = write_librispeech(tmp_path) / LISTS / "converted_aligned_phones.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[2:]]))
    refused(
        tmp_path,
        f"line 2 of {path} should be SPEAKER-CHAPTER-UTTERANCE and phones from 0 to 40",
        target="phone",
    )


@pytest.mark.parametrize("frames", [149, 150])
def test_a_recording_too_short_for_its_phones_is_named(tmp_path: Path, frames: int) -> None:
    cut = write_librispeech(tmp_path) / "LibriSpeech/train-clean-100/89/7/89-7-0003.flac"
    samples, rate = soundfile.read(cut)
    soundfile.write(cut, samples[: frames * 160], rate)
    test = LibriSpeech(tmp_path, target="phone").test_samples()
    if frames == 150:
        assert len(test[1][1]) == 150  # pyright: ignore[reportArgumentType]
        return
    with pytest.raises(
        UserError, match=f"{cut} lasts 149 frames of 10 ms, but there are 150 labels"
    ):
        test[1]
    assert LibriSpeech(tmp_path, target="speaker").test_samples()[1][0].frames == 149 * 160
