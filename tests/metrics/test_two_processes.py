"""Metrics of features over two processes, and the alarm that looks at them."""

from pathlib import Path
from typing import Any

import pytest
import watched_by_two


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return watched_by_two.launch(tmp_path_factory.mktemp("two"))


def test_two_processes_measure_what_one_does(two: list[dict[str, Any]], tmp_path: Path) -> None:
    one = watched_by_two.train(tmp_path)["logged"]
    names = [
        f"block{block}/{prefix}{name}"
        for block in range(1, 5)
        for prefix in ("", "val_")
        for name in ("rankme", "feature_std", "alignment", "uniformity")
    ]
    for rank in two:
        found = rank["watched"]["logged"]
        assert {n: found[n] for n in names} == pytest.approx({n: one[n] for n in names}, rel=1e-5)


def test_an_alarm_stops_all_processes_at_one_batch(two: list[dict[str, Any]]) -> None:
    assert [rank["stopped"]["batches"] for rank in two] == [2, 2]


def test_where_blocks_lie_in_several_processes_it_stops_them_at_the_end_of_an_epoch(
    two: list[dict[str, Any]],
) -> None:
    assert [rank["chain"]["batches"] for rank in two] == [4, 4]
