import pytest
import torch

from blocklearn import GaussianNoise
from blocklearn.blocks.noise import build_noise
from blocklearn.seeding import keyed_generator


def test_noise_has_the_strength_of_the_features_spread() -> None:
    features = 3 * torch.randn(8, 16, 20, 20) + 5
    noisy = GaussianNoise(sigma=0.25)(features, keyed_generator("cpu", 0))
    assert float((noisy - features).std()) == pytest.approx(0.25 * 3, rel=0.02)


def test_gradients_flow_through_the_spread() -> None:
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    noise = GaussianNoise(sigma=0.5)
    assert torch.autograd.gradcheck(lambda x: noise(x, keyed_generator("cpu", 1)), (features,))
    (gradient,) = torch.autograd.grad(noise(features, keyed_generator("cpu", 1)).sum(), features)
    assert not torch.allclose(gradient, torch.ones_like(gradient))


def test_short_names() -> None:
    assert build_noise("none") is None
    assert build_noise(None) is None
    noise = build_noise("all")
    assert isinstance(noise, GaussianNoise)
    assert (noise.spread, noise.sigma) == ("all", 0.25)


def test_a_negative_sigma_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma"):
        GaussianNoise(sigma=-1)
