"""Clips that a network cannot take are refused before any is read."""

from types import SimpleNamespace

import pytest
from torch import nn

from blocklearn.backbones.input_spec import InputSpec
from blocklearn.blocks.data_check import require_fit
from blocklearn.errors import UserError
from tests.small import small_network

TAKES = InputSpec("video", 3, 32, 8)


class VideoNetwork(nn.Module):
    """What is compared with the data, of a network without blocks."""

    structure = SimpleNamespace(backbone="video_vit")
    patches, walked, input_spec = None, (), TAKES


def refused(makes: InputSpec) -> str:
    with pytest.raises(UserError) as told:
        require_fit(VideoNetwork(), SimpleNamespace(input_spec=makes), learns=False)
    return str(told.value)


def test_clips_of_another_number_of_frames_are_refused_with_both_ways_out():
    told = refused(InputSpec("video", 3, 32, 16))
    assert "takes clips of 8 frames of 32 pixels, the data makes clips of 16 frames" in told
    assert "--data.frames 8 --data.image_size 32" in told
    assert "{frames: 16, img_size: 32}" in told


def test_clips_of_another_size_are_refused():
    assert "clips of 8 frames of 64 pixels" in refused(InputSpec("video", 3, 64, 8))


def test_clips_that_fit_are_taken():
    data = SimpleNamespace(input_spec=TAKES)
    require_fit(VideoNetwork(), data, learns=False)


def test_images_are_no_clips_and_clips_no_images():
    assert "takes video, the data is images" in refused(InputSpec("images", 3, 32))
    with pytest.raises(UserError, match="takes images, the data is video"):
        small_network().require_fit(SimpleNamespace(input_spec=TAKES))
