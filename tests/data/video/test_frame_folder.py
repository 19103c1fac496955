"""Folders of frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blocklearn.data.video.frame_folder import open_frames
from blocklearn.errors import UnreadableSample


def write_frames(folder: Path, count: int = 12, size: tuple[int, int] = (24, 16)) -> Path:
    """Frame n is of grey n."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (number,) * 3).save(folder / f"frame{number}.png")
    return folder


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path):
    video = open_frames(write_frames(tmp_path / "clip"))
    clip = video.read(1, 4, 3)
    assert clip.shape == (4, 16, 24, 3)
    assert clip[:, 0, 0, 0].tolist() == [1, 4, 7, 10]
    assert video.read()[:, 0, 0, 0].tolist() == list(range(12))


def test_what_nobody_put_there_as_a_frame_is_passed_over(tmp_path: Path):
    folder = write_frames(tmp_path / "clip", 3)
    for name in (".hidden.png", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"nothing")
    assert open_frames(folder).frames == 3


def test_a_folder_that_makes_no_clip_is_named(tmp_path: Path):
    folder = write_frames(tmp_path / "clip", 3)
    with pytest.raises(UnreadableSample, match=r"clip: it has 3 frames, none of 1 to 3"):
        open_frames(folder).read(1, 3)
    Image.new("RGB", (8, 8)).save(folder / "frame3.png")
    with pytest.raises(UnreadableSample, match="clip: its frames are of different size"):
        open_frames(folder).read()
    (folder / "frame3.png").write_bytes(b"\x89PNG")
    with pytest.raises(UnreadableSample, match=r"frame3\.png: it is no image"):
        open_frames(folder).read()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableSample, match="empty: it holds no images"):
        open_frames(tmp_path / "empty")


def test_only_the_frames_of_the_clip_are_read(tmp_path: Path):
    folder = write_frames(tmp_path / "clip")
    (folder / "frame5.png").write_bytes(b"")
    grey = np.asarray(open_frames(folder).read(0, 6, 2))[:, 0, 0, 0]
    assert grey.tolist() == [0, 2, 4, 6, 8, 10]
