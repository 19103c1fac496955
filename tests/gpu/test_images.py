"""Views that are made on a device, against one image at a time on the CPU."""

import torch
from torch import Tensor

from blocklearn.data import BarlowTwinsViews, ImageSpec
from blocklearn.data.images.colour_work import ColourWork, do_colour_work
from blocklearn.data.loader import KeyedSampler
from blocklearn.data.resident import ResidentImages, ResidentLoader
from blocklearn.seeding import keyed_generator


def test_colours_are_those_of_one_image_at_a_time(device: torch.device) -> None:
    work = ColourWork((0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 0.5, 0.5)
    draws = work.draw_many(24, keyed_generator("cpu", 1))
    images = torch.rand(24, 3, 20, 20)
    expected = [
        do_colour_work(image[None].clone(), draw[None])
        for image, draw in zip(images, draws, strict=True)
    ]
    found = do_colour_work(images.clone().to(device), draws)
    torch.testing.assert_close(found.cpu(), torch.cat(expected), rtol=0, atol=1e-5)


def test_resident_images_give_the_views_of_the_cpu_in_other_batches(device: torch.device) -> None:
    """The draws are made on the CPU, whatever the device."""
    pixels = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8)
    recipe = BarlowTwinsViews(ImageSpec(16))

    def views(device: torch.device | str, batch_size: int) -> dict[int, list[Tensor]]:
        images = ResidentImages(pixels.to(device), torch.arange(12))
        sampler = KeyedSampler(images.pixels, batch_size, shuffle=True, seed=3)
        return {
            int(index): [view[row].cpu() for view in batch.views]
            for batch in ResidentLoader(images, recipe, sampler)
            for row, index in enumerate(batch.index)
        }

    found, expected = views(device, 6), views("cpu", 1)
    assert found.keys() == expected.keys()
    for index, made in expected.items():
        torch.testing.assert_close(found[index], made, rtol=0, atol=1e-4)
