"""No change to the code changes a loss that it is not meant to change."""

from pathlib import Path

import pytest
from golden_runs import BATCHES, FEW, LONG, WAYS, Golden, run, run_all

SLOW = {"two_processes"}  # a minute and a half; tests/distributed compares two with one in seconds


def assert_as_before(name: str, found: Golden) -> None:
    """To the last bit; on a machine with other versions of the packages that compute them, or
    another processor, the first ten batches to rounding."""
    assert len(found.losses) == (BATCHES if name in LONG else FEW)
    for expected in Golden.read(name):
        if found.made_with == expected.made_with:
            assert found.losses == expected.losses
        for one, other in zip(found.losses[:10], expected.losses[:10], strict=True):
            assert one == pytest.approx(other, rel=1e-6 if name in WAYS else 1e-3)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in LONG]
)
def test_the_losses_of_100_batches_are_those_of_before(tmp_path: Path, name: str) -> None:
    assert_as_before(name, run(name, tmp_path))


def test_the_losses_of_every_way_of_training_are_those_of_before(tmp_path: Path) -> None:
    for name, found in run_all(WAYS, tmp_path).items():
        assert_as_before(name, found)
