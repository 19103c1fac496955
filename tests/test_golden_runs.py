"""No change to the code changes a loss that it is not meant to change."""

from pathlib import Path

import pytest
from golden_runs import BATCHES, RUNS, Golden, run

SLOW = {"two_processes"}  # a minute and a half; tests/distributed compares two with one in seconds


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in RUNS]
)
def test_the_losses_of_100_batches_are_those_of_before_to_the_last_bit(
    tmp_path: Path, name: str
) -> None:
    """With other versions of the packages that compute them, those of the first ten batches to
    rounding."""
    expected, found = Golden.read(name), run(name, tmp_path)
    assert len(found.losses) == len(expected.losses) == BATCHES
    if found.made_with == expected.made_with:
        assert found.losses == expected.losses
    else:
        for one, other in zip(found.losses[:10], expected.losses[:10], strict=True):
            assert one == pytest.approx(other, rel=1e-3)
