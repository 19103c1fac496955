"""How often the host waits for the GPU in a training step, counted in a trace of torch's
profiler."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

RANGE = "the steps that are looked at"
CALLS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
COPY = "Memcpy DtoH"


def waits_of(
    steps: Callable[[], Any], device: torch.device, trace: Path | None
) -> Counter[str] | None:
    """Calls of CUDA's runtime that wait, and copies from the device to the host, by name.

    Args:
        steps: what is looked at. It was run before, so that nothing is set up in it.
        device: on which it computes.
        trace: where the trace is kept, for chrome://tracing or Perfetto; null for nowhere.

    Returns:
        None on a GPU whose calls the profiler does not see, as where it may not.
    """
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device.type == "cuda" else []
    with profile(activities=activities) as seen:
        with record_function(RANGE):
            steps()
        if device.type == "cuda":
            torch.cuda.synchronize()  # outside of the range
    with tempfile.TemporaryDirectory() as folder:
        path = trace or Path(folder) / "trace.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        seen.export_chrome_trace(str(path))
        found = json.loads(path.read_text())
    if device.type == "cuda" and not any(
        "LaunchKernel" in event.get("name", "") for event in found["traceEvents"]
    ):
        return None
    return count_waits(found)


def count_waits(trace: dict[str, Any]) -> Counter[str]:
    """Of a trace in Chrome's format: calls that began within the range, and every copy to the
    host, which the device makes later than it was asked for.

    Raises:
        ValueError: where the trace does not hold the range.
    """
    events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
    ranges = [event for event in events if event["name"] == RANGE]
    if not ranges:
        raise ValueError(f"the trace has no range {RANGE!r}")
    begin = min(float(event["ts"]) for event in ranges)
    end = max(float(event["ts"]) + float(event["dur"]) for event in ranges)
    found = Counter(
        event["name"]
        for event in events
        if event["name"] in CALLS and begin <= float(event["ts"]) < end
    )
    found[COPY] = sum(event["name"].startswith(COPY) for event in events)
    return +found
