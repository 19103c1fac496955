"""A step of all blocks, with every fast way there is, against the plain ways on the CPU."""

from functools import cache
from typing import Any

import pytest
import torch
from device_steps import Step, assert_same, no_tf32, on, step_of, step_on
from small import small_batch, small_network

from blocklearn.distributed.sync_norm import synchronise_norms
from blocklearn.evaluation.isolation import measure_reach

CPU = torch.device("cpu")
DROPPING: dict[str, Any] = {
    "backbone_kwargs": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "drop_path_rate": 0.5}
}


@cache
def plain(dtype: torch.dtype = torch.float64) -> Step:
    return step_on(CPU, dtype, fast=False)


def test_in_float64_losses_gradients_and_statistics_are_the_plain_cpus(
    device: torch.device,
) -> None:
    assert_same(step_on(device), plain(), 1e-9)


def test_in_float32_they_are_near(device: torch.device) -> None:
    with no_tf32():
        assert_same(step_on(device, torch.float32), plain(), 2e-3)


def test_under_bf16_autocast_losses_are_near_and_gradients_point_the_same_way(
    device: torch.device,
) -> None:
    found, expected = step_on(device, torch.float32, bf16=True), plain()
    for name, loss in expected.losses.items():
        assert float(found.losses[name]) == pytest.approx(float(loss), rel=0.1)
    ours, theirs = (
        torch.cat([step.gradients[name].double().flatten() for name in sorted(step.gradients)])
        for step in (found, expected)
    )
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.95


@pytest.mark.parametrize("way", ["cheap", "views", "units"])
def test_what_is_computed_again_is_the_same_noise_and_dropped_paths_included(
    device: torch.device, way: str
) -> None:
    kept = step_on(device, recompute="nothing", noise="all", **DROPPING)
    assert_same(step_on(device, recompute=way, noise="all", **DROPPING), kept, 1e-9)


def test_nhwc_convolutions_give_the_same(device: torch.device) -> None:
    assert_same(step_on(device, channels_last=True), plain(), 1e-9)


def test_compiled_stages_give_nearly_the_same(cuda: torch.device) -> None:
    with no_tf32():
        assert_same(step_on(cuda, torch.float32, compile=True), plain(), 2e-3)


def test_norms_that_are_synchronised_give_the_same_in_one_process(device: torch.device) -> None:
    steps = []
    for synchronised in (True, False):
        torch.manual_seed(0)
        network = small_network().double().to(device)
        if synchronised:
            synchronise_norms(network)
        steps.append(step_of(network.train(), on(small_batch(), device, torch.float64)))
    assert_same(*steps, 1e-9)


def test_no_loss_reaches_another_block(device: torch.device) -> None:
    network = small_network(noise="all").to(device)
    rows = measure_reach(network, on(small_batch(), device))
    assert [[norm is not None for norm in row.norms] for row in rows] == [
        [i == j for j in range(4)] for i in range(4)
    ]
