from typing import Any

import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor

from blocklearn import VICReg


def plain_vicreg(
    z1: Tensor, z2: Tensor, weights: tuple[float, float, float], eps: float = 1e-4
) -> Tensor:
    """Eq. 1 to 6 of arXiv 2105.04906, one dimension and one pair of dimensions at a time; eq. 5
    divided by the width."""
    count, width = z1.shape
    invariance, variance, covariance = weights
    loss = (
        invariance
        * sum((a - b).square().sum() for a, b in zip(z1, z2, strict=True))
        / (count * width)
    )
    for z in (z1, z2):
        mean = z.sum(0) / count
        for i in range(width):
            spread = ((z[:, i] - mean[i]) ** 2).sum() / (count - 1)
            loss = loss + variance * torch.clamp(1 - torch.sqrt(spread + eps), min=0) / width
            for j in range(width):
                c = ((z[:, i] - mean[i]) * (z[:, j] - mean[j])).sum() / (count - 1)
                loss = loss + (covariance * c**2 / width if i != j else 0)
    return loss


@pytest.mark.parametrize(
    "weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
)
@pytest.mark.parametrize(("count", "width"), [(2, 3), (9, 5)])
def test_value_and_gradient_equal_the_plain_formula(
    weights: tuple[float, float, float], count: int, width: int
) -> None:
    spread = torch.linspace(0.3, 2, width, dtype=torch.float64)  # on both sides of the hinge
    z1, z2 = (
        (1 + torch.randn(count, width, dtype=torch.float64) * spread).requires_grad_()
        for _ in range(2)
    )
    loss = VICReg(None, *weights)([z1, z2]).loss
    expected = plain_vicreg(z1, z2, weights)
    assert_same_value_and_gradient(loss, expected, [z1, z2])


def test_the_metrics_are_the_terms_before_weighting() -> None:
    z1, z2 = (torch.randn(10, 6, dtype=torch.float64) for _ in range(2))
    metrics = VICReg()([z1, z2]).metrics
    torch.testing.assert_close(metrics["invariance"], plain_vicreg(z1, z2, (1, 0, 0)))
    torch.testing.assert_close(metrics["covariance"], plain_vicreg(z1, z2, (0, 0, 1)))
    expected = torch.cat([(z.var(0) + 1e-4).sqrt() for z in (z1, z2)]).mean()
    torch.testing.assert_close(metrics["std"], expected)


def test_collapse_to_a_point_costs_the_whole_variance_term() -> None:
    z = torch.ones(8, 4)
    output = VICReg(invariance=1, variance=1, covariance=1)([z, z])
    assert float(output.metrics["std"]) == pytest.approx(0.01)  # the root of eps
    assert float(output.loss) == pytest.approx(2 * 0.99)


def test_the_loss_is_computed_in_float32_under_autocast() -> None:
    z1, z2 = torch.randn(8, 6), torch.randn(8, 6)
    expected = VICReg()([z1, z2]).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(VICReg()([z1, z2]).loss, expected)


@pytest.mark.parametrize("wrong", [{"invariance": -1}, {"gamma": 0}, {"eps": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="VICReg needs"):
        VICReg(**wrong)
