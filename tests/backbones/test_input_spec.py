"""What a network takes is read from its modules."""

import pytest
from torch import nn

from blocklearn.backbones.input_spec import InputSpec, input_of


class Embedding(nn.Module):
    """Of tubelets, as far as its input is concerned."""

    def __init__(self, strict: bool = True) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, 8, (2, 4, 4), (2, 4, 4))
        self.img_size, self.frames, self.strict_img_size = (32, 32), 8, strict


def test_a_network_whose_first_convolution_is_three_dimensional_takes_clips():
    spec = input_of(nn.Sequential(Embedding(), nn.Conv2d(8, 8, 1)).modules())
    assert spec == InputSpec("video", 3, 32, 8)
    assert spec.shape == (3, 8, 32, 32)
    assert spec.told == "clips of 8 frames of 32 pixels"


def test_an_embedding_that_takes_any_size_states_none():
    spec = input_of(Embedding(strict=False).modules())
    assert spec == InputSpec("video", 3)
    assert spec.shape is None


@pytest.mark.parametrize(
    ("spec", "shape", "told"),
    [
        (InputSpec("images", 3, 32), (3, 32, 32), "images of 32 pixels"),
        (InputSpec("sound", 1, 400), (1, 400), "windows of 400 samples"),
        (InputSpec("video", 3, 16, 4), (3, 4, 16, 16), "clips of 4 frames of 16 pixels"),
        (InputSpec("video", 3, 16), None, None),
    ],
)
def test_the_shape_of_a_sample_is_told(spec: InputSpec, shape, told):
    assert spec.shape == shape
    assert told is None or spec.told == told
