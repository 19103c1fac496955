import colorsys
import io
from functools import cache

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import correlate

from blocklearn.data.images.corruptions import CORRUPTIONS, COUNTED, EXTRA, SEVERITIES, corrupt
from blocklearn.data.images.corruptions.blur import _disk
from blocklearn.data.images.corruptions.shared import (
    motion_blurred,
    plasma,
    smoothing,
    zoomed,
)
from blocklearn.data.images.digits import load_digits

# The published parameters do not grow in the distance from the clean image here: elastic stretches
# far at first and then ripples; saturate first pales, then colours; glass moves without blur at
# first; frost trades light for darkness; spatter turns from water to mud; fog is rougher and
# thicker in turn.
UNEVEN = {"elastic_transform", "saturate", "glass_blur", "frost", "spatter"}
UNEVEN_LARGE = UNEVEN - {"glass_blur", "spatter"}


@cache
def photographs(side: int) -> list[np.ndarray]:
    from sklearn.datasets import load_sample_images

    found = []
    for pixels in load_sample_images().images:
        height, width = pixels.shape[:2]
        left = (width - height) // 2
        square = Image.fromarray(pixels).crop((left, 0, left + height, height))
        found.append(np.array(square.resize((side, side), Image.Resampling.BICUBIC)))
    return found


@cache
def digits() -> list[np.ndarray]:
    test = load_digits()[1]
    size, smooth = (20, 20), Image.Resampling.BILINEAR
    return [np.array(test[index][0].resize(size, smooth)) for index in range(0, 320, 20)]


def distance(images: list[np.ndarray], name: str, severity: int, draws: int) -> float:
    """Root mean square from the clean image, mean over images and draws."""
    return float(
        np.mean(
            [
                np.sqrt(np.mean((corrupt(x, name, severity, seed).astype(float) - x) ** 2))
                for seed in range(draws)
                for x in images
            ]
        )
    )


def plain(x: np.ndarray, change: object) -> np.ndarray:
    """Pixel by pixel through HSV, in float64, decimals cut off."""
    out = np.zeros_like(x)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            hue, saturation, value = colorsys.rgb_to_hsv(*(x[row, column] / 255))
            rgb = colorsys.hsv_to_rgb(hue, *change(saturation, value))  # pyright: ignore
            out[row, column] = np.floor(np.array(rgb) * 255 + 1e-3)
    return out


def test_there_are_fifteen_that_count_and_four_extra_ones() -> None:
    assert len(COUNTED) == 15
    assert EXTRA == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert list(CORRUPTIONS) == [*COUNTED, *EXTRA]


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(20, 20), (32, 32), (64, 48), (96, 96), (230, 225)])
def test_shape_and_type_stay_and_the_input_is_left_alone(name: str, shape: tuple[int, int]) -> None:
    x = np.ascontiguousarray(photographs(230)[0][: shape[0], : shape[1]])
    before = x.copy()
    for severity in (1, 3, 5):
        made = corrupt(x, name, severity, 0)
        assert made.shape == x.shape
        assert made.dtype == np.uint8
    assert np.array_equal(x, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_draws_depend_on_seed_name_and_severity_alone(name: str) -> None:
    x = photographs(32)[1]
    first = corrupt(x, name, 4, 7)
    np.random.default_rng(0).random()
    assert np.array_equal(first, corrupt(x, name, 4, 7))
    fixed = {"defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "saturate"}
    fixed |= {"pixelate", "jpeg_compression"}
    assert np.array_equal(first, corrupt(x, name, 4, 8)) == (name in fixed)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in UNEVEN])
def test_a_higher_severity_lies_further_from_the_clean_digit(name: str) -> None:
    found = [distance(digits(), name, severity, 3) for severity in SEVERITIES]
    if name == "pixelate":  # 19, 18 and 17 of 20 pixels: which boxes meet decides
        found = [found[0], *found[2:]]
    assert found == sorted(found)
    assert found[-1] > 1.3 * found[0]


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in UNEVEN_LARGE])
def test_a_higher_severity_lies_further_from_the_clean_photograph(name: str) -> None:
    draws = 20 if name == "fog" else 2
    found = [distance(photographs(224), name, severity, draws) for severity in SEVERITIES]
    if name == "fog":  # rougher clouds at 3 and 5, thicker ones at 2 and 5
        found = [found[0], found[2], found[4]]
    assert found == sorted(found)
    assert found[-1] > 1.3 * found[0]


@pytest.mark.parametrize("name", sorted(UNEVEN))
def test_the_others_change_the_image_at_every_severity(name: str) -> None:
    assert all(distance(photographs(224), name, severity, 1) > 4 for severity in SEVERITIES)
    assert all(distance(photographs(32), name, severity, 1) > 4 for severity in SEVERITIES)


@pytest.mark.parametrize("severity", [0, 6, -1])
@pytest.mark.parametrize("name", ["fog", "pixelate", "gaussian_noise"])
def test_a_severity_out_of_range_is_refused(name: str, severity: int) -> None:
    with pytest.raises(ValueError, match=f"a severity is 1, 2, 3, 4 or 5, got {severity}"):
        corrupt(digits()[0], name, severity, 0)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no corruption is called gausian_noise; did you mean gau"):
        corrupt(digits()[0], "gausian_noise", 1, 0)
    with pytest.raises(ValueError, match="no corruption is called xyz; there are gaussian_noise, "):
        corrupt(digits()[0], "xyz", 1, 0)


@pytest.mark.parametrize("wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_pixels_of_another_kind_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pixels must be uint8"):
        corrupt(wrong, "fog", 1, 0)


@pytest.mark.parametrize(("side", "added"), [(32, (0.05, 0.1, 0.15, 0.2, 0.3)), (70, (0.1, 0.5))])
def test_brightness_adds_to_the_value_of_hsv(side: int, added: tuple[float, ...]) -> None:
    x = photographs(side)[0].copy()
    x[0, 0] = 0
    for severity, more in zip((1, 2, 3, 4, 5) if side == 32 else (1, 5), added, strict=True):
        expected = plain(x, lambda s, v, more=more: (s, min(1, v + more)))
        found = corrupt(x, "brightness", severity, 0)
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_saturate_multiplies_the_saturation_of_hsv() -> None:
    x = photographs(32)[1].copy()
    x[0, 0] = 128  # grey, which counts as red
    table = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))
    for severity, (factor, more) in enumerate(table, 1):
        expected = plain(x, lambda s, v, f=factor, m=more: (min(1, s * f + m), v))
        found = corrupt(x, "saturate", severity, 0)
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_contrast_keeps_the_mean_and_a_part_of_the_rest() -> None:
    x = photographs(32)[0]
    for severity, kept in enumerate((0.75, 0.5, 0.4, 0.3, 0.15), 1):
        mean = x.astype(float).mean((0, 1))
        found = corrupt(x, "contrast", severity, 0).astype(float)
        assert np.abs(found - ((x - mean) * kept + mean)).max() <= 1.01


def test_pixelate_at_a_quarter_is_the_mean_of_four_by_four() -> None:
    x = photographs(224)[0]
    boxes = x.reshape(56, 4, 56, 4, 3).astype(float).mean((1, 3))
    expected = boxes.repeat(4, 0).repeat(4, 1)
    assert np.abs(corrupt(x, "pixelate", 5, 0) - expected).max() <= 1


def test_jpeg_is_pillows_at_the_published_quality() -> None:
    for side, qualities in ((32, (80, 65, 58, 50, 40)), (224, (25, 18, 15, 10, 7))):
        x = photographs(side)[0]
        for severity, quality in enumerate(qualities, 1):
            file = io.BytesIO()
            Image.fromarray(x).save(file, "JPEG", quality=quality)
            made = corrupt(x, "jpeg_compression", severity, 0)
            assert np.array_equal(made, np.array(Image.open(file)))


def test_noise_has_the_published_spread() -> None:
    grey = np.full((224, 224, 3), 128, np.uint8)
    for severity, std in enumerate((0.08, 0.12), 1):  # beyond these much is clipped
        noise = corrupt(grey, "gaussian_noise", severity, 0).astype(float) - 128
        assert noise.std() == pytest.approx(255 * std, rel=0.01)
        assert abs(noise.mean() + 0.5) < 0.3, "decimals are cut off"
    for severity, photons in enumerate((60, 25), 1):
        shot = corrupt(grey, "shot_noise", severity, 0).astype(float) / 255
        assert shot.var() == pytest.approx(128 / 255 / photons, rel=0.03)
    speckle = corrupt(grey, "speckle_noise", 1, 0).astype(float) - 128
    assert speckle.std() == pytest.approx(128 * 0.15, rel=0.01)


def test_impulses_are_black_and_white_by_equal_chances_in_the_published_part() -> None:
    grey = np.full((224, 224, 3), 128, np.uint8)
    for severity, part in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1):
        made = corrupt(grey, "impulse_noise", severity, 0)
        for value in (0, 255):
            assert (made == value).mean() == pytest.approx(part / 2, rel=0.06)
        assert set(np.unique(made)) == {0, 128, 255}


def test_defocus_is_the_mean_over_a_disk() -> None:
    kernel = _disk(3, 1e-3)
    inside = np.hypot(*np.mgrid[-4:5, -4:5]) <= 3
    assert np.allclose(kernel, inside / inside.sum())
    assert _disk(10, 0.5).sum() == pytest.approx(1)
    x = photographs(224)[0]
    plain_mean = correlate(x / 255, _disk(3, 0.1)[..., None], mode="mirror") * 255
    assert np.abs(corrupt(x, "defocus_blur", 1, 0) + 0.5 - plain_mean).max() < 0.52


def test_motion_leaves_half_a_gaussian_behind_a_point() -> None:
    point = np.zeros((21, 21))
    point[10, 10] = 1
    weights = np.exp(-(np.arange(7) ** 2) / 8)
    expected = np.zeros(21)
    expected[4:11] = weights[::-1] / weights.sum()
    along = motion_blurred(point, 3, 2, 0.0)
    assert np.allclose(along[10], expected)
    assert np.allclose(motion_blurred(point, 3, 2, np.pi / 2)[:, 10], expected)
    assert along.sum() == pytest.approx(1)


def test_zooming_keeps_the_middle_and_stretches_a_ramp() -> None:
    ramp = np.arange(9.0)[:, None].repeat(9, 1)
    assert np.allclose(zoomed(ramp, 1.0), ramp)
    assert np.allclose(zoomed(ramp, 2.0), 4 + (ramp - 4) / 2)


def test_smoothing_mirrors_and_keeps_sums() -> None:
    matrix = smoothing(12, 30.0)
    assert np.allclose(matrix.sum(1), 1)
    assert np.allclose(matrix @ matrix.T, np.full((12, 12), 1 / 12), atol=0.02), "far is flat"


@pytest.mark.parametrize("side", [8, 20, 32, 224])
def test_clouds_fill_their_range_and_a_faster_decay_makes_them_smoother(side: int) -> None:
    smooth, rough = (plasma(side, decay, np.random.default_rng(1)) for decay in (3.0, 1.2))
    for clouds in (smooth, rough):
        assert clouds.shape == (side, side)
        assert clouds.min() >= 0
        assert clouds.max() <= 1
    assert np.abs(np.diff(smooth, axis=0)).mean() < np.abs(np.diff(rough, axis=0)).mean()


def test_glass_only_moves_pixels_where_its_blur_is_none() -> None:
    x = photographs(32)[0]
    made = corrupt(x, "glass_blur", 1, 0)  # sigma 0.05: no blur
    assert not np.array_equal(made, x)
    assert np.array_equal(np.sort(made.reshape(-1, 3), 0), np.sort(x.reshape(-1, 3), 0))


def test_fog_and_snow_whiten_and_frost_covers() -> None:
    dark = np.full((64, 64, 3), 40, np.uint8)
    for name in ("snow", "frost", "brightness"):
        assert corrupt(dark, name, 5, 0).mean() > 55
    half = np.full((64, 64, 3), 40, np.uint8)
    half[:, 32:] = 220
    foggy = corrupt(half, "fog", 5, 0).astype(float)
    assert foggy.max() <= 220, "as bright as the image was"
    assert foggy[:, 32:].mean() - foggy[:, :32].mean() < 110
