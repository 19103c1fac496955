"""Candidates for the expansion on a GPU: right before they are timed, the Triton kernel without a
GPU included."""

import copy
import os
import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import expansion
from benchmarks.expansion_pieces import Chunked, mean_by
from blocklearn.kernels import expanded_mean as chunking

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def settings(**changes: Any) -> Namespace:
    return Namespace(
        **{
            "device": "cpu",
            "bf16": False,
            "channels_last": False,
            "batch_size": 4,
            "width": 64,
            "image_size": 16,
            "turns": 2,
            "repeats": 1,
            "candidates": [expansion.PACKAGE, expansion.PLAIN],
            **changes,
        }
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_algebra_with_chunks_of_its_own_is_plain_pytorch(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CPU_ENTRIES", 500)
    x = torch.randn(3, 5, 7, 6, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(13, 5, 1, 1, dtype=torch.float64)
    found = []
    norm = nn.BatchNorm2d(13).double()
    for mean in (mean_by(Chunked()), expansion.plain):
        own = copy.deepcopy(norm)
        leaves = [x.requires_grad_(), weight.requires_grad_(), own.weight, own.bias]
        y = mean(x, weight, own)
        found.append([y, *torch.autograd.grad(y.square().sum(), leaves), *own.buffers()])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


def test_a_candidate_that_is_wrong_or_does_not_run_is_counted_and_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def a_little_off(x: Tensor, weight: Tensor, norm: Any) -> Tensor:
        return expansion.plain(x, weight, norm) * 1.01

    def fails(case: expansion.Case) -> Any:
        raise RuntimeError("not on this machine")

    monkeypatch.setitem(expansion.MAKERS, "off", lambda case: a_little_off)
    monkeypatch.setitem(expansion.MAKERS, "fails", fails)
    tried = settings(candidates=[expansion.PACKAGE, expansion.PLAIN, "off", "fails"])
    wrong, *timed = expansion.rows_of("ResNet-18 layer1", tried)
    assert (wrong.name, list(wrong.ours), wrong.met) == ("expansion wrong", [2], False)
    assert wrong.notes["not timed"].keys() == {"off", "fails"}
    assert [row.what for row in timed] == ["ResNet-18 layer1, plain"]
    assert all(figure > 0 for figure in timed[0].figures)


def test_no_number_is_not_right() -> None:
    assert expansion.is_right([1e-3], [0.0])
    assert not expansion.is_right([1e-2], [0.0])
    assert not expansion.is_right([float("nan")], [1.0])


def by_itself(what: str, **environment: str) -> float:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(root / "tests" / "triton_expansion.py"), what],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
@needs_triton
def test_the_triton_kernels_value_gradients_and_statistics_are_the_plain_ones() -> None:
    """Interpreted on the CPU, in float32."""
    assert by_itself("values", TRITON_INTERPRET="1") < 1e-5


@pytest.mark.slow
@needs_triton
def test_the_triton_kernels_compile_for_an_h100_and_fit_its_shared_memory() -> None:
    assert by_itself("compile") <= 227 * 1024
