"""No change to the code changes a loss that it is not meant to change."""

from pathlib import Path

import pytest
from golden_runs import BATCHES, FEW, LONG, RUNS, WAYS, Golden, computed_with, run

SLOW = {"two_processes"}  # a minute and a half; tests/distributed compares two with one in seconds


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in RUNS]
)
def test_the_losses_of_every_block_are_those_of_before_to_the_last_bit(
    tmp_path: Path, name: str
) -> None:
    """On a machine with other versions of the packages that compute them, or another processor,
    those of the first ten batches to rounding."""
    every, found = Golden.read(name), run(name, tmp_path)
    assert len(found.losses) == (BATCHES if name in LONG else FEW)
    for expected in every:
        if found.made_with == expected.made_with:
            assert found.losses == expected.losses
        for one, other in zip(found.losses[:10], expected.losses[:10], strict=True):
            assert one == pytest.approx(other, rel=1e-6 if name in WAYS else 1e-3)
