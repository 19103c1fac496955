"""Videos in folders, one folder a class: what is taken, left out and replaced."""

import csv
from pathlib import Path

import pytest
import torch

from blocklearn.cli.views import draw_views
from blocklearn.data import VideoFolder
from blocklearn.data.unreadable import LIST
from blocklearn.errors import UserError
from tests.data.video.test_frame_folder import write_frames
from tests.videos import WITHOUT, write_sound, write_video


def folder(root: Path, frames: int = 2, **settings) -> VideoFolder:
    own = {"image_size": 16, "batch_size": 4, "num_workers": 0, "seed": 0, **settings}
    return VideoFolder(root, frames=frames, **own)


def names(samples) -> list[str]:
    return [path.name for path in samples.paths]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of four videos of 20 frames."""
    for label in "ab":
        for number in range(4):
            path = tmp_path / "data/train" / label / f"{label}{number}.avi"
            write_video(path, 20, "mpeg4", WITHOUT, seed=ord(label) + number)
    return tmp_path / "data"


def test_files_and_folders_of_frames_are_videos_by_class(
    root: Path, capsys: pytest.CaptureFixture[str]
):
    write_frames(root / "train/b/frames")
    write_frames(root / "train/a/further/frames")
    write_video(root / "val/a/in mp4.MP4", 20)
    write_video(root / "val/b/.hidden.mp4", 5)
    (root / "train/a/cover.png").write_bytes(b"beside videos, so no frame")
    (root / "train/a/notes.txt").write_text("nothing")
    data = folder(root)
    data.setup()
    train, test = data.pretraining_samples(), data.test_samples()
    assert names(train) == [*(f"a{n}.avi" for n in range(4)), "frames"] + [
        *(f"b{n}.avi" for n in range(4)),
        "frames",
    ]
    assert train.labels == [0] * 5 + [1] * 5  # pyright: ignore
    assert names(test) == ["in mp4.MP4"]
    assert (data.classes, data.num_classes, data.title) == (["a", "b"], 2, "data")
    told = capsys.readouterr().err.replace(str(root), "ROOT")
    assert told.splitlines() == [
        "data: class b of ROOT/train has no video in ROOT/val: it is learnt and never tested",
        "data: files in ROOT that are read as no video: 1 .png, 1 .txt",
    ]
    clips = [data.recipe.plain_view(train[index][0]) for index in (0, 4, 9)]
    assert {tuple(clip.shape) for clip in clips} == {(3, 2, 16, 16)}


def test_a_part_is_held_out_where_no_videos_are_for_testing(root: Path):
    data = folder(root, held_out=0.25)
    assert data.title == "data, 25% held out"
    train, test = data.pretraining_samples(), data.test_samples()
    assert (len(train), len(test)) == (6, 2)
    assert not set(names(train)) & set(names(test))


def test_a_folder_without_videos_is_refused_by_name(tmp_path: Path):
    with pytest.raises(UserError, match="there is no folder .*missing.*train/CLASS/VIDEO"):
        folder(tmp_path / "missing").setup()
    (tmp_path / "data/train/a").mkdir(parents=True)
    with pytest.raises(UserError, match="no videos in .*one folder a class with videos in it"):
        folder(tmp_path / "data").setup()
    write_video(tmp_path / "data/train/a.mp4", 20)
    write_video(tmp_path / "data/train/b.mp4", 20)
    with pytest.raises(UserError, match="no class folders to probe"):
        folder(tmp_path / "data", held_out=0.5).probe_samples()


def test_short_videos_are_left_out_in_one_line_and_listed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for number in range(4):
        write_video(root / f"train/a/short{number}.avi", 7, "mpeg4", WITHOUT)
    write_frames(root / "train/b/frames", 5)
    write_video(root / "val/a/long.mkv", 8)
    data = folder(root, max_corrupt=0)
    data.list_unreadable_in(tmp_path)
    data.setup()
    assert (len(data.pretraining_samples()), len(data.test_samples())) == (8, 1)
    told = capsys.readouterr().err.replace(str(root), "ROOT").splitlines()
    line = (
        "data: 5 of 13 videos for training have fewer than the 8 frames of a clip and are left "
        "out: ROOT/train/a/short0.avi, ROOT/train/a/short1.avi, ROOT/train/a/short2.avi and 2 more"
    )
    assert told[-1] == line
    rows = list(csv.reader((tmp_path / LIST).read_text().splitlines()))
    assert [Path(file).name for file, _ in rows[1:]] == [
        *(f"short{n}.avi" for n in range(4)),
        "frames",
    ]
    assert rows[1][1] == "left out: 7 frames, fewer than 8"
    assert len(list(data.train_dataloader())) == 2
    assert data.unreadable_told() is None
    longer = folder(root, frames=1, max_corrupt=0)  # they are part of the set, and can be read
    longer.list_unreadable_in(tmp_path)
    assert len(longer.pretraining_samples()) == 13
    assert longer._unreadable(longer.pretraining_samples()).found() == {}
    with pytest.raises(UserError, match="no video for training .* has the 48 frames of a clip"):
        folder(root, frames=12).setup()


def test_a_short_video_is_replaced_once_it_is_met_where_none_is_left_out(
    root: Path, tmp_path: Path
):
    write_video(root / "train/a/short.avi", 7, "mpeg4", WITHOUT)
    data = folder(root, leave_out_short=False, held_out=0.1)
    data.list_unreadable_in(tmp_path)
    samples = data.pretraining_samples()
    place = names(samples).index("short.avi")
    batch = data._training_dataset()[place]
    assert int(batch.index) != place
    assert "it has 7 frames, fewer than the 8 of a clip" in (tmp_path / LIST).read_text()


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_videos_are_replaced_alike_for_any_number_of_workers(
    root: Path, tmp_path: Path, workers: int
):
    files = sorted((root / "train").rglob("*.avi"))
    files[1].write_bytes(files[1].read_bytes()[:2000])
    write_sound(tmp_path / "sound.mp4").rename(files[6])
    data = folder(root, held_out=0.01, max_corrupt=2, num_workers=workers)
    data.list_unreadable_in(tmp_path)
    data.setup()
    batches = list(data.train_dataloader())
    listed = (tmp_path / LIST).read_text()
    assert (files[1].name in listed, files[6].name in listed) == (True, True)
    assert "2 samples could not be read and were replaced" in (data.unreadable_told() or "")
    keyed = folder(root, held_out=0.01, max_corrupt=2)
    loader = list(keyed.train_dataloader())
    for batch, expected in zip(batches, loader, strict=True):
        assert batch.views[0].equal(expected.views[0])
        assert batch.index.equal(expected.index)
    assert not {1, 6} & {i for batch in batches for i in batch.index.tolist()}
    with pytest.raises(UserError, match="cannot be read.*max_corrupt"):
        folder(root, held_out=0.01, max_corrupt=1).setup()


def test_the_views_of_videos_can_be_looked_at(root: Path, tmp_path: Path):
    data = folder(root)
    data.setup()
    assert draw_views(data, 2, None, tmp_path / "views.png").stat().st_size > 2000
    probe = next(iter(data.probe_dataloader(2, augment=False)))
    assert probe.views[0].shape == (2, 3, 2, 16, 16)
    assert torch.isfinite(probe.views[0]).all()
