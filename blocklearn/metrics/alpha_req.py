"""alpha-ReQ: how fast the covariance spectrum of features falls."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from blocklearn.metrics.spectrum import covariance_spectrum


class PowerLaw(NamedTuple):
    """A straight line through a spectrum in logarithms.

    Attributes:
        alpha: minus its slope: the eigenvalue number `i` is about `i ** -alpha`. NaN where there
            are fewer than 3 eigenvalues to fit.
        r2: of the fit, at most 1: how straight the spectrum is there.
        first: number of the first eigenvalue that was fitted, from 1.
        last: of the last.
    """

    alpha: float
    r2: float
    first: int
    last: int


def alpha_req(features: Tensor, first: int = 11, last: int = 100) -> PowerLaw:
    """The exponent of the covariance spectrum of features `(N, D)` (Agrawal et al., NeurIPS 2022):
    near 1 is good; well above, few directions carry everything; well below, noise does too.

    It is fitted by least squares to `log l_i` over `log i` for `i` from `first` to `last`, and
    depends wholly on that range, so compare over the same one. The range ends where the
    eigenvalues do: at `min(N - 1, D)`, or before the first that is 0 to rounding (`1e-12` of the
    largest). Where fewer than 3 remain, it begins at 1 instead.

    Args:
        features: one row a sample.
        first: eigenvalue, from 1.
        last: eigenvalue, above `first`.

    Raises:
        ValueError: for a range that holds fewer than 3, or fewer than 2 rows.
    """
    if not 1 <= first <= last - 2:
        raise ValueError(f"alpha needs a range of 3 eigenvalues or more, got {first} to {last}")
    return fit_power_law(covariance_spectrum(features), first, last)


def fit_power_law(values: Tensor, first: int, last: int) -> PowerLaw:
    """The same of a spectrum, largest first."""
    usable = int((values > 1e-12 * values[0]).sum()) if len(values) else 0
    last = min(last, usable)
    if last - first < 2:
        first = 1
    if last - first < 2:
        return PowerLaw(math.nan, math.nan, first, max(last, 0))
    x = torch.arange(first, last + 1, dtype=torch.float64).log()
    y = values[first - 1 : last].double().cpu().log()
    x, y = x - x.mean(), y - y.mean()
    slope = (x @ y) / (x @ x)
    rest = (y - slope * x).pow(2).sum()
    total = y.pow(2).sum()
    r2 = float(1 - rest / total) if total > 0 else 1.0
    return PowerLaw(float(-slope), r2, first, last)
