"""Processes that find each other in a store which may hold what an earlier start has left."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed as dist

from blocklearn.distributed.meeting import meet
from blocklearn.errors import UserError

LIMIT = timedelta(seconds=20)


def start(store: Any, delays: Sequence[float]) -> list[str]:
    """What each process makes of it; the delay is what it needs to come."""

    def come(rank: int) -> str:
        time.sleep(delays[rank])
        return meet(store, rank, len(delays), LIMIT)

    with ThreadPoolExecutor(len(delays)) as processes:
        return list(processes.map(come, range(len(delays))))


@pytest.mark.parametrize("late", range(3))
def test_every_start_has_one_name_of_its_own_whoever_comes_last(late: int) -> None:
    store = dist.HashStore()
    delays = [0.2 * (rank == late) for rank in range(3)]
    starts = [start(store, delays) for _ in range(3)]
    assert [len(set(names)) for names in starts] == [1, 1, 1]
    assert len({names[0] for names in starts}) == 3


def test_a_process_that_does_not_come_is_told_though_an_earlier_start_had_all() -> None:
    store = dist.HashStore()
    start(store, [0, 0])
    with pytest.raises(UserError, match="only 1 of 2 processes came within 0 s"):
        meet(store, 0, 2, timedelta(seconds=0.3))
    with pytest.raises(UserError, match="not all of 2 processes came within 0 s"):
        meet(store, 1, 2, timedelta(seconds=0.3))
