import pytest
import torch
from small import assert_same_value_and_gradient
from torch import Tensor

from blocklearn import BarlowTwins


def plain_barlow_twins(z1: Tensor, z2: Tensor, lambd: float, scale: float) -> Tensor:
    """The formula, one pair of dimensions at a time."""
    count, width = z1.shape
    a, b = ((z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + 1e-5) for z in (z1, z2))
    loss = torch.zeros((), dtype=z1.dtype)
    for i in range(width):
        for j in range(width):
            c = (a[:, i] * b[:, j]).sum() / count
            loss = loss + ((c - 1) ** 2 if i == j else lambd * c**2)
    return scale * loss


@pytest.mark.parametrize(("count", "width"), [(5, 7), (16, 3), (2, 4)])
def test_value_and_gradient_equal_the_plain_formula(count: int, width: int) -> None:
    z1, z2 = (torch.randn(count, width, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = BarlowTwins(lambd=0.0051, scale=0.024)([z1, z2]).loss
    expected = plain_barlow_twins(z1, z2, 0.0051, 0.024)
    assert_same_value_and_gradient(loss, expected, [z1, z2])


def test_identical_decorrelated_views_are_the_best_that_there_is() -> None:
    z = torch.linalg.qr(torch.randn(64, 9))[0][:, 1:]
    z = torch.linalg.qr(torch.cat([torch.ones(64, 1), z], dim=1))[0][
        :, 1:
    ]  # columns of mean 0, orthogonal
    metrics = BarlowTwins()([10 * z, 10 * z]).metrics
    assert float(metrics["on_diag"]) < 1e-4
    assert float(metrics["off_diag"]) < 1e-4


def test_views_with_nothing_in_common_have_on_diag_1_and_off_diag_1_over_batch() -> None:
    z1, z2 = torch.randn(200, 300), torch.randn(200, 300)
    metrics = BarlowTwins()([z1, z2]).metrics
    assert float(metrics["on_diag"]) == pytest.approx(1, abs=0.1)
    assert float(metrics["off_diag"]) == pytest.approx(1 / 200, rel=0.05)


def test_collapse_to_one_dimension_has_off_diag_1() -> None:
    z = torch.randn(100, 1).expand(100, 5)
    metrics = BarlowTwins()([z, z]).metrics
    assert float(metrics["off_diag"]) == pytest.approx(1, abs=1e-3)


def test_the_loss_is_computed_in_float32_under_autocast() -> None:
    z1, z2 = torch.randn(8, 6), torch.randn(8, 6)
    expected = BarlowTwins()([z1, z2]).loss
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(BarlowTwins()([z1, z2]).loss, expected)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        BarlowTwins(scale=0)
