"""Crops of a batch against torchvision's, one by one."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as F

from blocklearn.data.sound.resample import crop_and_resize, draw_crops

SCALE = (0.08, 1.0)


def draws(count: int, height: int, width: int, scale: tuple[float, float] = SCALE) -> torch.Tensor:
    return draw_crops(count, height, width, scale, 0.5, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (40, 25, 16), (8, 8, 20), (64, 64, 12)]
)
def test_a_crop_equals_torchvisions_bicubic_with_antialiasing(
    height: int, width: int, size: int
) -> None:
    crops = draws(40, height, width)
    images = torch.randint(0, 256, (40, 3, height, width), dtype=torch.uint8)
    expected = []
    for image, (top, left, h, w, flip) in zip(images, crops.int().tolist(), strict=True):
        box = (top, left, h, w)
        part = F.resized_crop(
            image / 255, *box, [size, size], InterpolationMode.BICUBIC, antialias=True
        ).clamp(0, 1)
        expected.append(part.flip(-1) if flip else part)
    torch.testing.assert_close(
        crop_and_resize(images, crops, size), torch.stack(expected), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 20)])
def test_crops_are_distributed_as_torchvisions(height: int, width: int) -> None:
    count = 4000
    ours = draws(count, height, width)[:, :4]
    transform = T.RandomResizedCrop(8, scale=SCALE)
    torch.manual_seed(0)
    drawn = [transform.make_params([torch.empty(3, height, width)]) for _ in range(count)]
    theirs = torch.tensor(
        [[float(d[name]) for name in ("top", "left", "height", "width")] for d in drawn]
    )
    error = theirs.std(0) / count**0.5 + 1e-6
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * error).all()
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.08, atol=0)
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()
    assert (ours[:, 2:] >= 1).all()


@pytest.mark.parametrize(("height", "width"), [(10, 100), (100, 10), (30, 30)])
def test_where_no_box_fits_the_largest_one_in_the_centre_is_taken(height: int, width: int) -> None:
    transform = T.RandomResizedCrop(8, scale=(1.5, 1.6))
    expected = transform.make_params([torch.empty(3, height, width)])
    box = [float(expected[name]) for name in ("top", "left", "height", "width")]
    assert draws(2, height, width, (1.5, 1.6))[:, :4].tolist() == [box] * 2
