import pytest
import torch
from torch import Tensor

from blocklearn import GaussianNoise, StageSpec, UserError
from blocklearn.blocks.noise import Spread, build_noise
from blocklearn.seeding import keyed_generator

SPEC = StageSpec("layer1", channels=16, stride=4)


def noisy(noise: GaussianNoise, features: Tensor, spec: StageSpec = SPEC) -> Tensor:
    return noise(features, keyed_generator("cpu", 0), spec)


def test_noise_has_the_strength_of_the_features_spread() -> None:
    features = 3 * torch.randn(8, 16, 20, 20) + 5
    difference = noisy(GaussianNoise(sigma=0.25), features) - features
    assert float(difference.std()) == pytest.approx(0.25 * 3, rel=0.02)


@pytest.mark.parametrize("spread", ["all", "hw", "height", "channel"])
def test_each_spread_is_the_standard_deviation_that_it_names(spread: Spread) -> None:
    features = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    draw = torch.randn(features.shape, generator=keyed_generator("cpu", 0), dtype=torch.float64)
    for b, c, h, w in [(0, 0, 0, 0), (1, 4, 2, 1)]:
        group = {
            "all": features.flatten(),
            "hw": features[b, c].flatten(),
            "height": features[b, c, :, w],
            "channel": features[b, :, h, w],
        }[spread]
        expected = (
            features[b, c, h, w]
            + 0.5
            * torch.sqrt(((group - group.mean()) ** 2).sum() / (len(group) - 1))
            * draw[b, c, h, w]
        )
        torch.testing.assert_close(
            noisy(GaussianNoise(spread, sigma=0.5), features)[b, c, h, w], expected
        )


@pytest.mark.parametrize("spread", ["all", "hw", "channel"])
def test_a_spread_means_the_same_in_every_layout(spread: Spread) -> None:
    """The draw differs in order, so the spread is read off from the noise of a constant draw."""
    maps = torch.randn(2, 5, 3, 3)
    noise = GaussianNoise(spread, sigma=1.0)

    def strength(features: Tensor, layout: str) -> Tensor:
        draw = torch.randn(features.shape, generator=keyed_generator("cpu", 0))
        return (noisy(noise, features, StageSpec("x", 5, 8, layout)) - features) / draw  # pyright: ignore

    expected = strength(maps, "NCHW")
    nhwc = strength(maps.permute(0, 2, 3, 1), "NHWC").permute(0, 3, 1, 2)
    tokens = strength(maps.flatten(2).transpose(1, 2), "NLC").transpose(1, 2).reshape(maps.shape)
    torch.testing.assert_close(nhwc, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(tokens, expected, rtol=1e-3, atol=1e-3)


def test_gradients_flow_through_the_spread() -> None:
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    noise = GaussianNoise(sigma=0.5)
    assert torch.autograd.gradcheck(lambda x: noisy(noise, x), (features,))
    (gradient,) = torch.autograd.grad(noisy(noise, features).sum(), features)
    assert not torch.allclose(gradient, torch.ones_like(gradient))


def test_short_names() -> None:
    assert build_noise("none") is None
    assert build_noise(None) is None
    for spread in ("all", "hw", "height", "channel"):
        noise = build_noise(spread)
        assert isinstance(noise, GaussianNoise)
        assert (noise.spread, noise.sigma) == (spread, 0.25)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma"):
        GaussianNoise(sigma=-1)
    with pytest.raises(ValueError, match="a spread of all, hw, height, channel"):
        GaussianNoise("c")  # pyright: ignore[reportArgumentType]


def test_tokens_have_no_height() -> None:
    with pytest.raises(UserError, match="which have no height"):
        noisy(GaussianNoise("height"), torch.randn(2, 9, 5), StageSpec("blocks.2", 5, 16, "NLC"))
