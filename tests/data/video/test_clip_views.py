"""Clips: what is drawn, and what a clip is cut from."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from blocklearn.data import (
    ArrayVideo,
    Digits,
    ImageSpec,
    MovingDigits,
    SmallImageViews,
    WindowViews,
)
from blocklearn.data.video.clip_views import ClipViews, VideoSpec
from blocklearn.errors import UnreadableSample, UserError
from blocklearn.seeding import keyed_randomness

PLAIN = VideoSpec(16, 4, (0.0,) * 3, (1.0,) * 3)


def video(frames: int = 40, height: int = 24, width: int = 32) -> ArrayVideo:
    """Frame n is n in red, the row in green and the column in blue."""
    pixels = torch.zeros(frames, height, width, 3, dtype=torch.uint8)
    pixels[..., 0] = torch.arange(frames)[:, None, None]
    pixels[..., 1] = torch.arange(height)[:, None]
    pixels[..., 2] = torch.arange(width)
    return ArrayVideo(Path("clip"), pixels)


def levels(clip: Tensor) -> Tensor:
    """`(3, T, H, W)` in whole numbers."""
    return (clip * 255).round().int()


def drawn(recipe: ClipViews, key: int, sample: ArrayVideo | None = None) -> Tensor:
    with keyed_randomness(0, 0, key, 0):
        return recipe.training_view(sample or video(), 0)


def test_a_clip_is_every_fourth_frame_of_one_square():
    red, green, blue = levels(drawn(ClipViews(PLAIN, shorter_side=0, flip=0.0), 3))
    assert red.shape == (4, 16, 16)
    assert (red[:, 0, 0] - red[0, 0, 0]).tolist() == [0, 4, 8, 12]
    assert (green - green[0, 0, 0]).equal(torch.arange(16)[:, None].expand(4, 16, 16))
    assert (blue - blue[0, 0, 0]).equal(torch.arange(16).expand(4, 16, 16))


def test_start_place_and_flip_are_drawn_and_follow_from_the_key_alone():
    recipe = ClipViews(PLAIN, shorter_side=0)
    clips = [levels(drawn(recipe, key)) for key in range(200)]
    assert all(clip.equal(levels(drawn(recipe, key))) for key, clip in enumerate(clips[:20]))
    left = [int(clip[2, 0, 0].min()) for clip in clips]
    assert {int(clip[0, 0, 0, 0]) for clip in clips} == set(range(25))  # 40 - 16 + 1 starts
    assert {int(clip[1, 0, 0, 0]) for clip in clips} == set(range(9))
    assert set(left) == set(range(17))
    flipped = [bool(clip[2, 0, 0, 0] > clip[2, 0, 0, 1]) for clip in clips]
    assert 70 < sum(flipped) < 130


def test_all_frames_of_a_clip_are_flipped_alike():
    for key in range(8):
        never, always = (
            drawn(ClipViews(PLAIN, flip=flip, shorter_side=20), key) for flip in (0, 1)
        )
        assert always.equal(never.flip(-1))


def test_a_test_clip_lies_in_the_middle_of_the_video_and_its_frames_with_nothing_drawn():
    before = torch.get_rng_state()
    clip = levels(ClipViews(PLAIN, shorter_side=0).plain_view(video()))
    assert torch.get_rng_state().equal(before)
    assert clip[0, :, 0, 0].tolist() == [12, 16, 20, 24]  # 12 frames before and, of 16, 12 behind
    assert (int(clip[1, 0, 0, 0]), int(clip[2, 0, 0, 0])) == (4, 8)


def test_a_crop_is_seven_eighths_of_the_shorter_side_unless_told_otherwise():
    green = levels(ClipViews(PLAIN).plain_view(video(16, 64, 80)))[1, 0, :, 0]
    assert (int(green[0]), int(green[-1])) == (5, 57)  # 57 of 64 rows, averaged in 16
    whole = levels(ClipViews(PLAIN, shorter_side=16).plain_view(video(16, 64, 80)))[1, 0, :, 0]
    assert (int(whole[0]), int(whole[-1])) == (2, 61)


def test_a_small_video_is_enlarged_and_refused_where_nothing_is_to_be_resized():
    small = video(16, 8, 10)
    assert ClipViews(PLAIN).plain_view(small).shape == (3, 4, 16, 16)
    with pytest.raises(UserError, match="the video clip of 10 x 8 pixels is smaller than a clip"):
        ClipViews(PLAIN, shorter_side=0).plain_view(small)
    with pytest.raises(UserError, match="a clip of 16 pixels does not fit into a shorter_side"):
        ClipViews(PLAIN, shorter_side=15)


def test_a_clip_is_normalised_by_channel():
    spec = VideoSpec(16, 4, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    plain, normalised = (ClipViews(s, shorter_side=0).plain_view(video()) for s in (PLAIN, spec))
    mean, std = (torch.tensor(v).reshape(3, 1, 1, 1) for v in (spec.mean, spec.std))
    torch.testing.assert_close(normalised, (plain - mean) / std)


def test_a_video_that_is_too_short_is_named_and_one_that_just_suffices_taken():
    recipe = ClipViews(PLAIN)
    assert recipe.min_frames == 16
    recipe.probe_view(video(16))
    for view in (recipe.probe_view, recipe.plain_view):
        with pytest.raises(UnreadableSample, match="clip: it has 15 frames, fewer than the 16"):
            view(video(15))


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"flip": 1.5}, {"num_views": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, int]):
    with pytest.raises(ValueError, match="stride and num_views must be at least 1"):
        ClipViews(PLAIN, **wrong)


def test_a_recipe_for_another_kind_of_data_is_refused():
    with pytest.raises(UserError, match="ClipViews is one for video"):
        ClipViews(ImageSpec(16))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="ClipViews is one for video"):
        Digits(recipe=ClipViews)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="MovingDigits is video, and the recipe is one for images"):
        MovingDigits(recipe=SmallImageViews)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="WindowViews is one for sound"):
        MovingDigits(recipe=WindowViews)  # pyright: ignore[reportArgumentType]
