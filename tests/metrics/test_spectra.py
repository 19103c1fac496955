"""Effective rank and the exponent, both from the covariance spectrum."""

import math

import numpy as np
import pytest
import torch

from blocklearn.metrics.alpha_req import alpha_req, fit_power_law
from blocklearn.metrics.effective_rank import effective_rank
from blocklearn.metrics.participation_ratio import participation_ratio
from blocklearn.metrics.rank_me import rank_me
from blocklearn.metrics.spectrum import covariance_spectrum


def with_spectrum(values: torch.Tensor, rows: int = 300) -> torch.Tensor:
    """Features whose covariance has these eigenvalues, off the origin."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(rows, len(values), generator=generator).double()
    directions = torch.linalg.qr(noise - noise.mean(dim=0))[0]
    return directions * (values * (rows - 1)).sqrt() + 5


@pytest.mark.parametrize("shape", [(50, 7), (6, 20)])
def test_the_spectrum_is_that_of_the_covariance(shape: tuple[int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)) + 4
    expected = np.linalg.eigvalsh(np.cov(x.double().numpy().T))[::-1][: min(shape)]
    np.testing.assert_allclose(covariance_spectrum(x).numpy(), expected, atol=1e-12)


def test_the_effective_rank_of_equal_variances_is_their_number_and_of_a_line_1() -> None:
    assert effective_rank(with_spectrum(torch.full((6,), 2.0).double())) == pytest.approx(6)
    one = torch.outer(torch.arange(9.0), torch.ones(4))
    assert effective_rank(one) == pytest.approx(1)
    assert effective_rank(torch.ones(9, 4)) == 1
    values = torch.tensor([4.0, 2.0, 1.0, 1.0]).double()
    by_hand = math.exp(-sum(p * math.log(p) for p in (0.5, 0.25, 0.125, 0.125)))
    assert effective_rank(with_spectrum(values)) == pytest.approx(by_hand)


def test_it_is_not_rankme() -> None:
    centred = with_spectrum(torch.tensor([4.0, 2.0, 1.0, 1.0]).double()) - 5
    roots = [2.0, 2**0.5, 1.0, 1.0]
    by_hand = math.exp(-sum(s / sum(roots) * math.log(s / sum(roots)) for s in roots))
    assert float(rank_me(centred)) == pytest.approx(by_hand, rel=1e-4)
    assert effective_rank(centred) < by_hand - 0.2
    assert effective_rank(centred + 100) == pytest.approx(effective_rank(centred))
    assert float(rank_me(centred + 100)) < by_hand - 0.5


def test_the_participation_ratio_is_that_of_the_eigenvalues() -> None:
    values = torch.tensor([4.0, 2.0, 1.0, 1.0]).double()
    assert participation_ratio(with_spectrum(values)) == pytest.approx(8**2 / (16 + 4 + 1 + 1))
    assert participation_ratio(with_spectrum(values)) < effective_rank(with_spectrum(values))
    assert participation_ratio(with_spectrum(torch.full((6,), 2.0).double())) == pytest.approx(6)
    assert math.isnan(participation_ratio(torch.ones(9, 4)))


def test_alpha_is_the_exponent_of_a_power_law_over_the_range_that_is_told() -> None:
    values = torch.arange(1, 151).double() ** -1.3
    found = alpha_req(with_spectrum(values))
    assert found.alpha == pytest.approx(1.3, rel=1e-6)
    assert found.r2 == pytest.approx(1)
    assert (found.first, found.last) == (11, 100)


def test_it_depends_on_its_range_and_r2_tells_how_straight_it_is() -> None:
    values = torch.arange(1, 61).double() ** -1.0
    values[:10] = 1.0
    clean, whole = fit_power_law(values, 11, 100), fit_power_law(values, 1, 60)
    assert clean.alpha == pytest.approx(1)
    assert clean.last == 60
    assert whole.alpha > 1.1
    assert whole.r2 < 0.97
    x, y = np.log(np.arange(1, 61)), np.log(values.numpy())
    assert whole.alpha == pytest.approx(-np.polyfit(x, y, 1)[0])
    assert whole.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_with_few_dimensions_the_range_begins_at_1_and_with_two_there_is_no_slope() -> None:
    few = alpha_req(with_spectrum(torch.arange(1, 9).double() ** -2))
    assert (few.first, few.last) == (1, 8)
    assert few.alpha == pytest.approx(2)
    assert alpha_req(with_spectrum(torch.ones(13).double())).first == 11
    none = alpha_req(torch.randn(20, 2))
    assert math.isnan(none.alpha)
    assert math.isnan(none.r2)
    assert math.isnan(alpha_req(torch.ones(20, 30)).alpha)
    fewer_rows = alpha_req(torch.randn(40, 200, generator=torch.Generator().manual_seed(0)))
    assert fewer_rows.last == 39, "the 40th eigenvalue of 40 centred rows is 0"
    with pytest.raises(ValueError, match="3 eigenvalues"):
        alpha_req(torch.randn(20, 20), first=5, last=6)
