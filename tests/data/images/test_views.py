import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2 as T

from blocklearn.data.images.glyph_views import GlyphViews
from blocklearn.data.images.image_spec import ImageSpec, ToNormalisedTensor
from blocklearn.data.images.views import BarlowTwinsViews, PILGaussianBlur, SmallImageViews


def photograph(size: tuple[int, int] = (60, 40)) -> Image.Image:
    draw = np.random.default_rng(0)
    return Image.fromarray(draw.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("recipe", [BarlowTwinsViews, SmallImageViews, GlyphViews])
def test_every_view_has_the_stated_size(recipe: type) -> None:
    views = recipe(ImageSpec(24))
    image = photograph()
    for tensor in (
        views.training_view(image, 0),
        views.training_view(image, 1),
        views.probe_view(image),
    ):
        assert tensor.shape == (3, 24, 24)
        assert tensor.dtype == torch.float32
    assert torch.equal(views.plain_view(image), views.plain_view(image))


def steps(view: int) -> list[T.Transform]:
    return list(BarlowTwinsViews(ImageSpec(224))._training[view].transforms)


def test_the_published_two_view_recipe() -> None:
    for view, (blur, solarise) in enumerate([(1.0, 0.0), (0.1, 0.2)]):
        crop, flip, jitter, grey, gaussian, solar, _ = steps(view)
        assert crop.size == (224, 224)
        assert crop.scale == (0.08, 1.0)
        assert crop.interpolation == T.InterpolationMode.BICUBIC
        assert flip.p == 0.5
        assert jitter.p == 0.8
        (colour,) = jitter.transforms
        assert colour.brightness == colour.contrast == (0.6, 1.4)
        assert colour.saturation == (0.8, 1.2)
        assert colour.hue == (-0.1, 0.1)
        assert grey.p == 0.2
        assert gaussian.p == blur
        assert (solar.p, solar.threshold) == (solarise, 128)


def test_the_published_test_view_is_resize_256_and_centre_crop_224() -> None:
    views = BarlowTwinsViews(ImageSpec(224))
    resize, crop, _ = views._plain.transforms
    assert resize.size == [256]
    assert crop.size == (224, 224)


def test_blur_is_pils_with_a_radius_between_a_tenth_and_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    radii = []
    from PIL import ImageFilter

    class Spy(ImageFilter.GaussianBlur):
        def __init__(self, radius: float) -> None:
            radii.append(radius)
            super().__init__(radius)

    monkeypatch.setattr(ImageFilter, "GaussianBlur", Spy)
    image = photograph((8, 8))
    for _ in range(300):
        PILGaussianBlur(1.0)(image)
    assert len(radii) == 300
    assert 0.1 <= min(radii) < 0.2
    assert 1.9 < max(radii) <= 2.0


def test_the_quick_normalisation_equals_torchvisions() -> None:
    spec = ImageSpec(224)
    slow = T.Compose(
        [
            T.ToImage(),
            T.ToDtype(torch.float32, scale=True),
            T.Normalize(list(spec.mean), list(spec.std)),
        ]
    )
    torch.testing.assert_close(
        ToNormalisedTensor(spec)(photograph()), slow(photograph()), rtol=0, atol=2e-6
    )


def test_a_glyph_that_is_not_moved_is_only_enlarged() -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("RGB")
    views = GlyphViews(ImageSpec(16, (0.0,) * 3, (1.0,) * 3))
    expected = image.transform(
        (16, 16), Image.Transform.AFFINE, (0.5, 0, 0, 0, 0.5, 0), Image.Resampling.BILINEAR
    )
    assert torch.equal(
        views.plain_view(image), ToNormalisedTensor(ImageSpec(16, (0.0,) * 3, (1.0,) * 3))(expected)
    )


@pytest.mark.parametrize("angle", [90, 180])
def test_a_glyph_turns_about_its_centre(angle: int) -> None:
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (9, 9), dtype=np.uint8)
    ).convert("RGB")
    views = GlyphViews(ImageSpec(9))
    turned = views._resample(image, rotation=np.pi * angle / 180)
    expected = torch.rot90(views.plain_view(image), angle // 90, dims=(1, 2))
    torch.testing.assert_close(turned[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], rtol=0, atol=0.03)
