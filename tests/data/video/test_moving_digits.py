"""Digits that move."""

import numpy as np
import pytest
import torch
from torch import Tensor

from blocklearn.backbones.input_spec import InputSpec
from blocklearn.data import MovingDigits
from blocklearn.data.images.digits import load_digits
from blocklearn.data.video.moving_digits import AXES, MOTIONS, MovingGlyphs, _moving
from blocklearn.errors import UserError


def all_videos(samples: MovingGlyphs) -> Tensor:
    return torch.stack([samples[index][0].read()[..., 0] for index in range(len(samples))])


@pytest.fixture(scope="module")
def both() -> tuple[MovingGlyphs, MovingGlyphs]:
    data = MovingDigits()
    return data.pretraining_samples(), data.test_samples()  # pyright: ignore


def test_it_is_one_fixed_video_for_each_digit_and_those_for_testing_show_others(both):
    train, test = both
    assert (len(train), len(test)) == tuple(map(len, load_digits()))
    assert [list(part.labels) for part in both] == [list(p.labels) for p in load_digits()]
    _moving.cache_clear()
    again = MovingDigits(seed=7).pretraining_samples()
    for index in (0, 700, 1436):
        assert train[index][0].pixels.equal(again[index][0].pixels)
    assert not np.array_equal(train.places[:360], test.places)


def test_mean_and_deviation_are_those_of_the_set_to_a_hundredth_of_the_deviation(both):
    pixels = all_videos(both[0]).float() / 255
    assert pixels.mean().item() == pytest.approx(
        MovingDigits.mean[0], abs=MovingDigits.std[0] / 100
    )
    assert pixels.std().item() == pytest.approx(MovingDigits.std[0], abs=MovingDigits.std[0] / 100)


def test_the_labels_are_digits_or_motions_of_the_same_videos(both):
    data = MovingDigits("motion")
    motions = data.pretraining_samples()
    assert (data.num_classes, MovingDigits().num_classes) == (7, 10)
    assert motions[5][0].pixels.equal(both[0][5][0].pixels)
    counts = np.bincount(motions.labels)  # pyright: ignore
    assert len(counts) == len(MOTIONS)
    assert counts.max() - counts.min() <= 1


def test_a_digit_moves_as_its_motion_says_and_stays_within_the_frame(both):
    for motion, axes in enumerate(AXES):
        steps = np.abs(np.diff(both[0].places[both[0].motions == motion], axis=1)).mean((0, 1))
        assert [step > 0.5 for step in steps] == [bool(axis) for axis in axes]
        assert (steps.max() > 1.5) == MOTIONS[motion].startswith("fast")
    assert (both[0].places.min(), both[0].places.max()) == (0, 20)


def test_no_single_frame_tells_the_motion(both):
    """The places of the first frame are spread alike, whatever the motion."""
    train = both[0]
    places = [train.places[train.motions == m, f] for m in range(7) for f in (0, 6)]
    assert all(abs(p.mean() - 10) < 1.2 and abs(p.std() - 5.8) < 0.8 for p in places)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_clips_follows_from_seed_and_epoch_alone(workers: int):
    data = MovingDigits(frames=4, image_size=16, batch_size=8, num_workers=workers, seed=3)
    data.setup()
    loader = data.train_dataloader()
    loader.sampler.set_epoch(2)  # pyright: ignore
    batch = next(iter(loader))
    assert data.input_spec == InputSpec("video", 3, 16, 4)
    assert batch.views[0].shape == (8, 3, 4, 16, 16)
    assert batch.views[0].dtype == torch.float32
    keyed = MovingDigits(frames=4, image_size=16, seed=3)._training_dataset()
    from blocklearn.data.loader import ViewKey

    for row, index in enumerate(batch.index.tolist()):
        assert batch.views[0][row].equal(keyed[ViewKey(2, index)].views[0])
    assert not batch.views[0][0].equal(keyed[ViewKey(1, int(batch.index[0]))].views[0])


def test_the_frames_of_a_clip_are_seen_two_by_two():
    data = MovingDigits(frames=4, image_size=16)
    batch = data.few_samples(3)
    seen = data.as_seen(batch.views[0])
    assert seen.shape == (3, 33, 33, 3)
    assert (seen.min() >= 0, seen.max() <= 1, (seen[:, 16] == 1).all()) == (True, True, True)
    last = batch.views[0][1, :, -1] * data.std[0] + data.mean[0]
    assert np.allclose(seen[1, 17:, 17:], last.permute(1, 2, 0), atol=1e-6)


def test_values_out_of_range_are_refused():
    with pytest.raises(UserError, match="target must be digit or motion"):
        MovingDigits("speed")  # pyright: ignore
    with pytest.raises(UserError, match="image_size at least 16"):
        MovingDigits(image_size=8)
    with pytest.raises(UserError, match="frames at least 1"):
        MovingDigits(frames=0)
