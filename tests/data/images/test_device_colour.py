"""The recipe with its colours on the device against the same recipe on PIL, draw by draw and on the
whole."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small import same_weights, small_data, small_network, small_trainer, weights

from blocklearn.data import BarlowTwinsViews, ImageSpec, SmallImageViews
from blocklearn.data.images.colour_work import (
    GREYSCALE,
    IDLE,
    SIGMA,
    SOLARISE,
    STRENGTH,
    ColourWork,
)
from blocklearn.data.images.views import CroppedView
from blocklearn.seeding import keyed_randomness

PIXELS = ImageSpec(64, (0.0,) * 3, (1.0,) * 3)
CPU = torch.device("cpu")


def photograph(number: int) -> Image.Image:
    """Smooth shapes and some grain, in colour."""
    draw = np.random.default_rng(number)
    rows, columns = np.mgrid[:90, :120] / 90
    waves = [
        np.sin(draw.uniform(1, 9) * rows + draw.uniform(1, 9) * columns + draw.uniform(0, 6))
        for _ in range(3)
    ]
    pixels = draw.uniform(60, 190, 3) + 70 * np.stack(waves, -1) + draw.normal(0, 4, (90, 120, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def both(count: int, view: int, **settings: object) -> tuple[torch.Tensor, torch.Tensor]:
    """In levels of 255."""
    ways = []
    for colour in ("host", "device"):
        recipe = BarlowTwinsViews(PIXELS, colour=colour, **settings)
        made = []
        for number in range(count):
            with keyed_randomness(0, 0, number, view):
                made.append(recipe.training_view(photograph(number), view))
        if colour == "device":
            whole = CroppedView(*(torch.stack(part) for part in zip(*made, strict=True)))
            ways.append(recipe.finish(whole, CPU))
        else:
            ways.append(torch.stack(made))
    return ways[0] * 255, ways[1] * 255


@pytest.mark.parametrize("view", [0, 1])
def test_equal_draws_make_the_same_view_up_to_pils_rounding(view: int) -> None:
    host, device = both(60, view, blur=(0.0, 0.0))
    difference = (host - device).abs()
    assert difference.mean() < 1.5
    assert difference.flatten().quantile(0.999) < 12
    assert difference.mean((1, 2, 3)).max() < 3


def test_a_crop_without_colours_is_pils_but_for_a_level() -> None:
    host, device = both(40, 0, blur=(0.0, 0.0), jitter_probability=0.0, greyscale=0.0)
    assert ((host - device).abs().round() <= 1).float().mean() > 0.999


def test_equal_draws_with_blur_differ_by_pils_box_filters_only() -> None:
    host, device = both(60, 0)
    assert (host - device).abs().mean() < 2


@pytest.mark.parametrize("view", [0, 1])
def test_the_statistics_are_those_of_the_pil_recipe(view: int) -> None:
    host, device = both(200, view)
    # PIL cuts decimals off
    torch.testing.assert_close(host.mean((0, 2, 3)), device.mean((0, 2, 3)), rtol=0, atol=2)
    torch.testing.assert_close(host.std((0, 2, 3)), device.std((0, 2, 3)), rtol=0.01, atol=0)


def test_draws_one_by_one_and_at_once_have_the_stated_frequencies_and_ranges() -> None:
    work = ColourWork((0.4, 0.3, 0.2, 0.1), 0.8, 0.2, 0.5, 0.3)
    with keyed_randomness(3):
        one_by_one = torch.stack([work.draw() for _ in range(4000)])
    at_once = work.draw_many(4000, torch.Generator().manual_seed(0))
    for draws in (one_by_one, at_once):
        jittered = (draws[:, STRENGTH] != torch.tensor(IDLE)).any(1)
        chosen = [jittered, draws[:, GREYSCALE] > 0, draws[:, SIGMA] > 0, draws[:, SOLARISE] > 0]
        for happened, probability in zip(chosen, (0.8, 0.2, 0.5, 0.3), strict=True):
            assert float(happened.float().mean()) == pytest.approx(probability, abs=0.03)
        strength = draws[jittered][:, STRENGTH] - torch.tensor(IDLE)
        torch.testing.assert_close(
            strength.amax(0), torch.tensor([0.4, 0.3, 0.2, 0.1]), rtol=0.02, atol=0
        )
        torch.testing.assert_close(
            strength.amin(0), -torch.tensor([0.4, 0.3, 0.2, 0.1]), rtol=0.02, atol=0
        )
        sigma = draws[draws[:, SIGMA] > 0, SIGMA]
        assert 0.1 <= sigma.min() < 0.12
        assert 1.98 < sigma.max() <= 2
        orders = draws[jittered][:, :4] @ torch.tensor([64.0, 16, 4, 1])
        _, times = orders.unique(return_counts=True)
        assert len(times) == 24
        assert times.min() > 0.5 * jittered.sum() / 24


DEVICE = partial(SmallImageViews, colour="device")


def test_every_loader_yields_finished_views() -> None:
    data = small_data(recipe=DEVICE)
    for loader in (
        data.train_dataloader(),
        data.val_dataloader(),
        data.every_training_view(),
        data.probe_dataloader(8),
    ):
        for view in next(iter(loader)).views:
            assert view.shape == (8, 3, 32, 32)
            assert view.dtype == torch.float32


def test_fixed_views_are_those_of_every_training_view() -> None:
    data = small_data(recipe=DEVICE, fixed_views=True)
    in_order = torch.cat([batch.views[0] for batch in data.every_training_view()])
    loader = data.train_dataloader()
    loader.keyed_sampler.set_epoch(5)
    for batch in loader:
        torch.testing.assert_close(batch.views[0], in_order[batch.index])


def test_workers_do_not_matter() -> None:
    alone, helped = (
        [b.views for b in small_data(recipe=DEVICE, seed=1, num_workers=n).train_dataloader()]
        for n in (0, 2)
    )
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_network_trains_on_it_and_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    runs = []
    for folder in ("a", "b"):
        torch.manual_seed(0)
        network = small_network()
        small_trainer(tmp_path / folder, limit_val_batches=1).fit(
            network, datamodule=small_data(recipe=DEVICE, seed=0)
        )
        runs.append(weights(network))
    assert same_weights(*runs)


def test_an_unknown_place_for_the_colours_is_refused() -> None:
    with pytest.raises(ValueError, match="colour must be host or device, got gpu"):
        SmallImageViews(ImageSpec(8), colour="gpu")
