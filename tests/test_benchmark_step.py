"""The step benchmark where all ways live in one process, and the waits that it counts."""

from argparse import Namespace
from typing import Any

import pytest
import torch
from small import OBJECTIVE, small_network

from benchmarks import together
from benchmarks.step import measure_together
from benchmarks.waits import RANGE, count_waits, waits_of
from benchmarks.ways_to_train import BASELINE, OURS, SMALL_LARS

CPU = torch.device("cpu")


def settings(**changes: Any) -> Namespace:
    return Namespace(
        **{
            "backbone": "resnet18",
            "image_size": 32,
            "batch_size": 8,
            "width": 16,
            "blocks": "per_stage",
            "noise": True,
            "channels_last": False,
            "compile": False,
            "ways": [BASELINE, OURS],
            "steps": 2,
            "turns": 2,
            "device": "cpu",
            "bf16": False,
            "memory_only": False,
            "together": True,
            "trace": None,
            **changes,
        }
    )


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Small networks, and which way took a step with how many samples."""
    real, names, steps = together.one_step, {}, []

    def build(way: str, settings: Namespace) -> Any:
        blocks = "end_to_end" if way == BASELINE else "per_stage"
        network = small_network(objective=OBJECTIVE, blocks=blocks, optimizer=SMALL_LARS)
        names[id(network)] = way
        return network

    def one_step(network: Any, optimizers: Any, batch: Any, *more: Any) -> None:
        steps.append((names[id(network)], len(batch.index)))
        if len(batch.index) > 4:
            raise torch.OutOfMemoryError("for the test")
        real(network, optimizers, batch, *more)

    monkeypatch.setattr(together, "build", build)
    monkeypatch.setattr(together, "one_step", one_step)
    return steps


def test_ways_take_turns_with_the_largest_halved_batch_that_end_to_end_fits(
    taken: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.step.arithmetic_ratio", lambda settings: 1.0)
    rows = {row.name: row for row in measure_together(settings())}
    assert taken[:2] == [(BASELINE, 8), (BASELINE, 4)]
    assert {size for _, size in taken[1:]} == {4}
    turn = [BASELINE] * 2 + [OURS] * 2
    assert [name for name, _ in taken[2:]] == [
        *[BASELINE] * together.WARM_UP,
        *[OURS] * together.WARM_UP,
        *turn * 2,
        *[OURS] * 3,  # under the profiler
    ]
    assert rows.keys() == {"P2 time", "P2 waits"}
    assert rows["P2 time"].notes["batch_size"] == 4
    assert len(rows["P2 time"].figures) == 2
    assert rows["P2 waits"].met


def test_a_device_on_which_two_samples_do_not_fit_is_told_in_a_line(
    taken: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise torch.OutOfMemoryError("for the test")

    monkeypatch.setattr(together, "one_step", never)
    with pytest.raises(SystemExit, match="not even two samples fit"):
        together.fitting(BASELINE, settings(), CPU)


def call(name: str, at: float, took: float = 1) -> dict[str, Any]:
    return {"ph": "X", "name": name, "ts": at, "dur": took}


def test_calls_that_wait_count_within_the_range_and_copies_to_the_host_wherever_they_end() -> None:
    events = [
        call("cudaStreamSynchronize", 5),
        call(RANGE, 10, 20),
        call("cudaStreamSynchronize", 12),
        call("cudaStreamSynchronize", 29),
        call("cudaEventSynchronize", 15),
        call("cudaLaunchKernel", 16),
        call("Memcpy HtoD (Pinned -> Device)", 17),
        call("Memcpy DtoH (Device -> Pageable)", 35),
        call("cudaDeviceSynchronize", 31),
        {"ph": "i", "name": "cudaStreamSynchronize", "ts": 13},
    ]
    assert count_waits({"traceEvents": events}) == {
        "cudaStreamSynchronize": 2,
        "cudaEventSynchronize": 1,
        "Memcpy DtoH": 1,
    }
    with pytest.raises(ValueError, match="no range"):
        count_waits({"traceEvents": events[:1]})


def test_a_real_trace_holds_the_range_and_is_kept_where_asked(tmp_path: Any) -> None:
    x, trace = torch.ones(4), tmp_path / "new" / "trace.json"
    assert not waits_of(lambda: x + 1, CPU, trace)
    assert RANGE in trace.read_text()
