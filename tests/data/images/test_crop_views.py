import numpy as np
import pytest
import torch
from PIL import Image

from blocklearn import UserError
from blocklearn.data import STL10, CropViews, Digits, ImageSpec
from blocklearn.data.images.image_spec import ToNormalisedTensor

PLAIN = ImageSpec(64, (0.0,) * 3, (1.0,) * 3, grey=(0.0, 1.0))


def photograph(width: int = 96, height: int = 96) -> Image.Image:
    draw = np.random.default_rng(0)
    return Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8))


def scaled(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1) / 255


@pytest.mark.parametrize(("greyscale", "channels"), [(False, 3), (True, 1)])
def test_every_view_has_the_stated_shape(greyscale: bool, channels: int) -> None:
    views = CropViews(ImageSpec(64), greyscale)
    for view in (
        views.training_view(photograph(), 0),
        views.probe_view(photograph()),
        views.plain_view(photograph()),
    ):
        assert view.shape == (channels, 64, 64)
        assert view.dtype == torch.float32
    assert (views.channels, views.num_views) == (channels, 1)


def test_random_views_are_crops_in_the_images_own_scale_half_of_them_flipped() -> None:
    image = photograph(66, 65)
    whole = scaled(image)
    crops = {
        (top, left, flipped): (window.flip(2) if flipped else window)
        for top in range(2)
        for left in range(3)
        for flipped in (False, True)
        for window in (whole[:, top : top + 64, left : left + 64],)
    }
    torch.manual_seed(0)
    found = []
    for _ in range(120):
        view = CropViews(PLAIN).training_view(image, 0)
        found.append(
            next(key for key, crop in crops.items() if torch.allclose(view, crop, atol=1e-6))
        )
    assert set(found) == crops.keys()
    assert 40 < sum(flipped for _, _, flipped in found) < 80


def test_the_view_of_testing_is_the_centre() -> None:
    torch.testing.assert_close(
        CropViews(PLAIN).plain_view(photograph()), scaled(photograph())[:, 16:80, 16:80]
    )


def test_grey_is_pils_grey_normalised_with_the_sets_constants() -> None:
    spec = ImageSpec(64, STL10.mean, STL10.std, STL10.grey)
    assert spec.grey == (0.4120, 0.2570)
    expected = (scaled(photograph().convert("L"))[:, 16:80, 16:80] - 0.4120) / 0.2570
    torch.testing.assert_close(CropViews(spec, greyscale=True).plain_view(photograph()), expected)


def test_grey_constants_follow_from_the_colours_where_there_are_none() -> None:
    grey = ImageSpec(64, (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)).in_grey()
    assert grey.mean == pytest.approx([0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6])
    assert grey.std == pytest.approx([0.299 * 0.1 + 0.587 * 0.2 + 0.114 * 0.3])
    assert ImageSpec(8, (0.3,) * 3, (0.2,) * 3).in_grey().mean == pytest.approx([0.3])


def test_the_derived_mean_is_that_of_grey_pixels_and_the_deviation_an_upper_bound() -> None:
    colours = scaled(photograph()).flatten(1)
    spec = ImageSpec(96, colours.mean(1).tolist(), colours.std(1).tolist()).in_grey()
    pixels = scaled(photograph().convert("L"))
    assert float(pixels.mean()) == pytest.approx(spec.mean[0], abs=1 / 255)
    assert float(pixels.std()) <= spec.std[0]


def test_the_quick_normalisation_takes_one_channel() -> None:
    image = photograph().convert("L")
    tensor = ToNormalisedTensor(ImageSpec(96, (0.4,), (0.2,)))(image)
    torch.testing.assert_close(tensor, (scaled(image) - 0.4) / 0.2, rtol=0, atol=2e-6)
    assert tensor.shape == (1, 96, 96)


@pytest.mark.parametrize("view", ["training", "probe", "plain"])
def test_an_image_smaller_than_the_crop_is_refused_with_both_sizes(view: str) -> None:
    views = CropViews(ImageSpec(64))
    calls = {
        "training": lambda image: views.training_view(image, 0),
        "probe": views.probe_view,
        "plain": views.plain_view,
    }
    with pytest.raises(
        UserError,
        match=(
            "an image of 96 x 32 pixels is smaller than the crop of 64; set --data.image_size to 32"
        ),
    ):
        calls[view](photograph(96, 32))


def test_padding_lets_an_image_be_smaller_than_the_crop() -> None:
    views = CropViews(PLAIN, padding=16)
    assert views.training_view(photograph(96, 32), 0).shape == (3, 64, 64)
    plain = views.plain_view(photograph(96, 32))
    torch.testing.assert_close(plain[:, 16:48], scaled(photograph(96, 32))[:, :, 16:80])
    assert not plain[:, :16].any()
    with pytest.raises(UserError, match="--data.recipe.padding to 17 or more"):
        views.plain_view(photograph(96, 31))


@pytest.mark.parametrize("wrong", [{"padding": -1}, {"flip": 1.5}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="padding must be at least 0 and flip in"):
        CropViews(PLAIN, **wrong)


def test_a_data_module_states_the_channels_of_its_views() -> None:
    assert Digits().channels == 3
    grey = Digits(recipe=lambda spec: CropViews(spec, greyscale=True), image_size=8, batch_size=4)
    assert grey.channels == 1
    assert next(iter(grey.train_dataloader())).views[0].shape == (4, 1, 8, 8)
