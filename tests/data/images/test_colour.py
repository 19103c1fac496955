"""Every batched operation against torchvision's, which takes one strength a call."""

from collections.abc import Callable

import pytest
import torch
from torchvision.transforms.v2 import functional as T

from blocklearn.data.images import colour
from blocklearn.data.images.colour_work import (
    COLUMNS,
    GREYSCALE,
    IDLE,
    ORDER,
    SIGMA,
    SOLARISE,
    STRENGTH,
    do_colour_work,
)

RADIUS = 2 * colour.BLUR_RADIUS + 1
JITTERS = (T.adjust_brightness, T.adjust_contrast, T.adjust_saturation, T.adjust_hue)


def images(count: int = 24, size: int = 20) -> torch.Tensor:
    """Smooth, flat, grey, black and white ones, and some with few colours, so that channels tie."""
    pixels = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    pixels[:6] = (pixels[:6] * 3).round() / 3
    pixels[6], pixels[7], pixels[8] = 0, 1, pixels[8, :1]
    return pixels


def strengths(low: float, high: float, count: int = 24) -> torch.Tensor:
    return torch.empty(count).uniform_(low, high, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("work", "one_by_one", "low", "high"),
    [
        (colour.brightness, T.adjust_brightness, 0, 2),
        (colour.contrast, T.adjust_contrast, 0, 2),
        (colour.saturation, T.adjust_saturation, 0, 2),
        (colour.hue, T.adjust_hue, -0.5, 0.5),
        (
            colour.gaussian_blur,
            lambda image, sigma: T.gaussian_blur(image, [RADIUS] * 2, [sigma] * 2),
            0.1,
            2,
        ),
    ],
)
def test_an_operation_with_a_strength_an_image_equals_torchvisions(
    work: Callable[..., torch.Tensor],
    one_by_one: Callable[..., torch.Tensor],
    low: float,
    high: float,
) -> None:
    given = strengths(low, high)
    expected = torch.stack([one_by_one(i, float(s)) for i, s in zip(images(), given, strict=True)])
    torch.testing.assert_close(work(images(), given), expected, rtol=0, atol=1e-5)


def test_blur_of_images_smaller_than_its_window_keeps_their_mean() -> None:
    small = images(size=4)
    assert colour.gaussian_blur(small, strengths(0.1, 2)).shape == small.shape
    flat = torch.full((2, 3, 5, 5), 0.3)
    torch.testing.assert_close(colour.gaussian_blur(flat, torch.tensor([0.1, 2.0])), flat)


def test_a_batch_of_draws_is_done_as_torchvision_does_each_image_by_itself() -> None:
    generator = torch.Generator().manual_seed(2)
    count = 60
    draws = torch.zeros(count, COLUMNS)
    draws[:, ORDER] = torch.rand(count, 4, generator=generator).argsort(1).float()
    draws[:, STRENGTH] = 0.6 + 0.8 * torch.rand(count, 4, generator=generator)
    draws[:, STRENGTH.stop - 1] -= 1
    draws[:10, STRENGTH] = torch.tensor(IDLE)
    draws[:, [GREYSCALE, SOLARISE]] = (torch.rand(count, 2, generator=generator) < 0.4).float()
    draws[::3, SIGMA] = 1.5
    given = images(count)
    expected = []
    for image, drawn in zip(given, draws, strict=True):
        if not torch.equal(drawn[STRENGTH], torch.tensor(IDLE)):
            for number in drawn[ORDER].int().tolist():
                image = JITTERS[number](image, float(drawn[STRENGTH][number]))
        image = T.rgb_to_grayscale(image, 3) if drawn[GREYSCALE] else image
        image = (
            T.gaussian_blur(image, [RADIUS] * 2, [float(drawn[SIGMA])] * 2)
            if drawn[SIGMA]
            else image
        )
        expected.append(T.solarize(image, 128 / 255) if drawn[SOLARISE] else image)
    torch.testing.assert_close(
        do_colour_work(given.clone(), draws), torch.stack(expected), rtol=0, atol=2e-5
    )


def test_an_image_that_nothing_is_drawn_for_is_not_touched() -> None:
    draws = torch.zeros(24, COLUMNS)
    draws[:, STRENGTH] = torch.tensor(IDLE)
    assert torch.equal(do_colour_work(images(), draws), images())
