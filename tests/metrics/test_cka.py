import math

import numpy as np
import pytest
import torch
from torch import Tensor

from blocklearn.metrics.linear_cka import linear_cka
from blocklearn.metrics.minibatch_cka import MinibatchCKA, hsic1
from blocklearn.metrics.rbf_cka import rbf_cka


def draw(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).double()


def by_kernels(x: Tensor, y: Tensor) -> float:
    """Through centred kernel matrices, as centred kernel alignment is defined."""
    n = len(x)
    centre = torch.eye(n).double() - 1 / n
    k, other = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    return float((k @ other).trace() / ((k @ k).trace() * (other @ other).trace()).sqrt())


@pytest.mark.parametrize(("rows", "widths"), [(40, (5, 9)), (8, (20, 30)), (8, (3, 30))])
def test_it_is_the_alignment_of_the_centred_kernels(rows: int, widths: tuple[int, int]) -> None:
    x = draw(rows, widths[0]) + 3
    y = draw(rows, widths[1], 1) + x[:, :1]
    assert linear_cka(x, y) == pytest.approx(by_kernels(x, y), rel=1e-9)
    assert linear_cka(y, x) == pytest.approx(linear_cka(x, y), rel=1e-9)


@pytest.mark.parametrize("rows", [40, 6])
def test_of_a_network_with_itself_it_is_1_whatever_rotates_scales_or_moves_it(rows: int) -> None:
    x, y = draw(rows, 9), draw(rows, 4, 1)
    rotation = torch.linalg.qr(draw(9, 9, 2))[0]
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 7 * x @ rotation + 3) == pytest.approx(1)
    assert linear_cka(7 * x @ rotation + 3, y) == pytest.approx(linear_cka(x, y))
    stretched = x * torch.arange(1, 10)
    assert linear_cka(x, stretched) < 0.99, "not invariant to every linear map"


def test_orthogonal_columns_have_nothing_in_common_and_a_constant_has_no_value() -> None:
    q = torch.linalg.qr(torch.cat([torch.ones(20, 1).double(), draw(20, 4)], dim=1))[0]
    assert linear_cka(q[:, 1:3], q[:, 3:]) == pytest.approx(0, abs=1e-12)
    assert math.isnan(linear_cka(torch.ones(8, 2), draw(8, 3)))
    with pytest.raises(ValueError, match="the same samples"):
        linear_cka(draw(8, 2), draw(9, 2))


def slow_hsic1(k: Tensor, other: Tensor) -> float:
    """The spec's formula with its matrices of ones."""
    n = len(k)
    ones = torch.ones(n, 1).double()
    k, other = (m - torch.diag(m.diagonal()) for m in (k, other))
    first = (k @ other).trace()
    second = (ones.T @ k @ ones) * (ones.T @ other @ ones) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (ones.T @ k @ other @ ones)
    return float((first + second - third) / (n * (n - 3)))


def test_minibatch_cka_averages_the_three_estimates_before_their_ratio() -> None:
    x = draw(60, 5) + 2
    y = x[:, :3] + draw(60, 3, 1)
    parts = []
    metric = MinibatchCKA()
    for a, b in zip(x.split((8, 22, 30)), y.split((8, 22, 30)), strict=True):
        metric.update(a, b)
        k, other = a @ a.T, b @ b.T
        parts.append([slow_hsic1(k, other), slow_hsic1(k, k), slow_hsic1(other, other)])
    cross, own, others = (sum(column) / 3 for column in zip(*parts, strict=True))
    assert metric.compute() == pytest.approx(cross / math.sqrt(own * others), rel=1e-9)
    of_ratios = sum(c / math.sqrt(a * b) for c, a, b in parts) / 3
    assert metric.compute() != pytest.approx(of_ratios, rel=1e-3)


def test_the_estimator_is_unbiased_where_linear_cka_is_not() -> None:
    metric, plain = MinibatchCKA(), []
    for seed in range(150):
        x, y = draw(8, 16, 2 * seed), draw(8, 16, 2 * seed + 1)
        metric.update(x, y)
        plain.append(linear_cka(x, y))
    assert abs(metric.compute()) < 0.05
    assert min(plain) > 0.4, "independent features of fewer samples than dimensions"


def test_with_itself_it_is_1_and_a_batch_has_4_samples() -> None:
    metric = MinibatchCKA()
    assert math.isnan(metric.compute())
    rotation = torch.linalg.qr(draw(9, 9, 2))[0]
    for seed in range(3):
        x = draw(12, 9, seed)
        metric.update(x, 3 * x @ rotation)
    assert metric.compute() == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 4 samples"):
        metric.update(draw(3, 2), draw(3, 2))
    with pytest.raises(ValueError, match="the same samples"):
        metric.update(draw(5, 2), draw(4, 2))
    assert hsic1(torch.zeros(4, 4), torch.zeros(4, 4)) == 0


def plain_rbf_cka(x: Tensor, y: Tensor, fraction: float) -> float:
    """Pair by pair, and HSIC through the centring matrix."""
    n = len(x)
    kernels = []
    for rows in (x.numpy(), y.numpy()):
        squares = [[float(((a - b) ** 2).sum()) for b in rows] for a in rows]
        median = float(np.median([squares[i][j] for i in range(n) for j in range(i)]))
        kernels.append(np.exp(-np.array(squares) / (2 * fraction**2 * median)))
    centre = np.eye(n) - 1 / n
    k, other = kernels

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ centre @ b @ centre)) / (n - 1) ** 2

    return hsic(k, other) / math.sqrt(hsic(k, k) * hsic(other, other))


@pytest.mark.parametrize(("rows", "fraction"), [(9, 1.0), (24, 0.4), (24, 3.0)])
def test_rbf_cka_is_that_of_a_plain_loop(rows: int, fraction: float) -> None:
    x = draw(rows, 5) + 30
    y = draw(rows, 8, 1) + x[:, :1]
    assert rbf_cka(x, y, fraction) == pytest.approx(plain_rbf_cka(x, y, fraction), rel=1e-9)


def test_rbf_cka_knows_no_scale_and_comes_to_linear_cka_with_wide_kernels() -> None:
    x = draw(40, 9)
    y = draw(40, 4, 1) + x[:, :4]
    rotation = torch.linalg.qr(draw(9, 9, 2))[0]
    assert rbf_cka(x, 7 * x @ rotation + 3) == pytest.approx(1)
    assert rbf_cka(x, 100 * y) == pytest.approx(rbf_cka(x, y))
    assert rbf_cka(x, y, 100.0) == pytest.approx(linear_cka(x, y), rel=1e-3)
    assert abs(rbf_cka(x, y, 1.0) - linear_cka(x, y)) > 0.02
    assert math.isnan(rbf_cka(torch.ones(8, 2), draw(8, 3)))
    with pytest.raises(ValueError, match="the same samples"):
        rbf_cka(draw(8, 2), draw(9, 2))
    with pytest.raises(ValueError, match="a fraction above 0"):
        rbf_cka(x, y, 0.0)
