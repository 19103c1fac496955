"""UCF101, by a stand-in in its layout."""

import shutil
from pathlib import Path

import pytest

from blocklearn.backbones.input_spec import InputSpec
from blocklearn.data import UCF101
from blocklearn.errors import UserError
from tests.videos import ACTIONS, write_ucf101


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three actions of 4 groups of 3 videos: 27 for training and 9 for testing."""
    return write_ucf101(tmp_path_factory.mktemp("ucf101"), groups=4, clips=3, frames=20)


def ucf101(root: Path, **settings) -> UCF101:
    own = {"frames": 4, "image_size": 32, "batch_size": 9, "num_workers": 0, "seed": 0}
    return UCF101(root, **{**own, **settings})


def test_the_official_lists_say_what_is_learnt_and_what_is_tested(root: Path):
    data = ucf101(root, fold=2)
    data.setup()
    train, test = data.pretraining_samples(), data.test_samples()
    assert (len(train), len(test), data.num_classes) == (27, 9, 3)
    assert data.classes == list(ACTIONS)
    assert all("_g01_" in path.name for path in test.paths)  # pyright: ignore
    assert test.labels == [0] * 3 + [1] * 3 + [2] * 3  # pyright: ignore
    assert train.paths[0] == root / "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01.avi"  # pyright: ignore
    assert UCF101(root).input_spec == InputSpec("video", 3, 128, 16)
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    assert batches[0].views[0].shape == (9, 3, 4, 32, 32)


def test_a_part_of_the_test_videos_is_drawn_once_and_for_all(root: Path):
    parts = [ucf101(root, test_part=0.3, seed=seed).test_samples() for seed in range(6)]
    assert all(part.paths == parts[0].paths for part in parts)  # pyright: ignore
    assert parts[0].labels == [0, 1, 2]  # pyright: ignore
    assert len(ucf101(root, test_part=0.67).test_samples()) == 6


def test_everything_may_lie_in_the_folder_itself(root: Path, tmp_path: Path):
    shutil.copytree(root / "UCF-101", tmp_path, dirs_exist_ok=True)
    shutil.copytree(root / "ucfTrainTestlist", tmp_path, dirs_exist_ok=True)
    assert len(ucf101(tmp_path).pretraining_samples()) == 27


def test_what_is_missing_is_named_with_where_to_get_it(root: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"split list .*classInd\.txt; unpack UCF101TrainTestSpl"):
        ucf101(tmp_path).setup()
    shutil.copytree(root / "ucfTrainTestlist", tmp_path / "ucfTrainTestlist")
    with pytest.raises(
        UserError,
        match=r"27 of the 27 videos in trainlist01.txt are not there, .*g02_c01\.avi first; unpack",
    ):
        ucf101(tmp_path).setup()
    listed = tmp_path / "ucfTrainTestlist/trainlist01.txt"
    listed.write_text("Archery/v_Archery_g02_c01.avi 2\n../../etc/passwd\n")
    with pytest.raises(UserError, match=r"trainlist01\.txt has the line '\.\./\.\./etc/passwd'"):
        ucf101(tmp_path).setup()
    listed.write_text("\n")
    with pytest.raises(UserError, match=r"trainlist01\.txt is empty"):
        ucf101(tmp_path).setup()


def test_values_out_of_range_are_refused(root: Path):
    for wrong in ({"fold": 4}, {"test_part": 0.0}, {"test_part": 1.1}):
        with pytest.raises(UserError, match="fold must be 1, 2 or 3, and test_part above 0"):
            ucf101(root, **wrong)
