"""The cost model of docs/scaling.md: what it counts is what a step does, and its sums add up."""

from argparse import Namespace
from typing import Any

import pytest
import torch

from benchmarks.scale_counts import Line, Piece, _counted, count_blocks, count_stages
from benchmarks.scale_model import arguments, block_table, costs, table
from benchmarks.scale_ways import (
    Machines,
    block_parallel,
    bubble,
    data,
    pipeline,
    with_averaging,
)
from benchmarks.ways_to_train import OURS, build, random_batch
from blocklearn.training.contract import Carried, Clock

SMALL: dict[str, Any] = {
    "backbone": "resnet18",
    "blocks": "per_stage",
    "image_size": 64,
    "batch_size": 4,
    "width": 64,
    "noise": True,
    "channels_last": False,
    "compile": False,
}
FAST = Machines(1e12, 8, 1e15, 1e15, 0.0)  # links that cost nothing


@pytest.fixture(scope="module")
def blocks() -> list[Piece]:
    return count_blocks(Namespace(**SMALL), (4, 8))


@pytest.fixture(scope="module")
def stages() -> list[Piece]:
    return count_stages(Namespace(**SMALL), (4, 8))


def line(slope: float) -> Line:
    return Line((0, 1), (0.0, slope))


def piece(flops: float, weights: int = 0, handed_on: float = 0.0) -> Piece:
    return Piece(line(flops), line(1.0), line(handed_on), weights, 0)


def test_what_is_counted_of_a_border_are_the_bytes_of_the_tensors_handed_on(
    blocks: list[Piece], stages: list[Piece]
) -> None:
    """And of gradients those of the parameters; on a network with numbers."""
    settings = Namespace(**SMALL)
    network = build(OURS, settings)
    batch = random_batch(settings, 6, settings.image_size)
    carried = Carried(batch.views)
    for block, counted, stage in zip(network.walked, blocks, stages, strict=True):
        carried = block.local_step(carried, batch, Clock(0)).carried
        sent = [*carried.views, batch.label, batch.index]
        assert counted.handed_on.at(6) == sum(tensor.nbytes for tensor in sent)
        if block is not network.walked[-1]:
            assert stage.handed_on == counted.handed_on
        assert counted.weights == sum(p.nbytes for p in block.parameters() if p.requires_grad)


def test_a_straight_line_through_some_batches_is_right_at_another() -> None:
    settings = Namespace(**SMALL)
    near, far = (count_blocks(settings, sizes) for sizes in ((16, 32), (8, 64)))
    for one, other in zip(near, far, strict=True):
        assert one.flops.at(64) == pytest.approx(other.flops.at(64), rel=0.01)
        assert one.held.at(64) == pytest.approx(other.held.at(64), rel=0.15)


def test_a_line_goes_through_its_points_and_beyond() -> None:
    bent = Line((4, 8, 16), (10.0, 12.0, 28.0))
    assert [bent.at(x) for x in (2, 4, 6, 8, 12, 16, 20)] == [9, 10, 11, 12, 20, 28, 36]
    assert bent.per_sample == 2
    assert (bent + bent).at(20) == 72


def test_the_products_of_attention_count() -> None:
    query = torch.randn(2, 4, 50, 16, requires_grad=True)
    attention = torch.nn.functional.scaled_dot_product_attention
    _, forward, _ = _counted([], lambda: attention(query, query, query))
    assert forward == 2 * (2 * 2 * 4 * 50 * 50 * 16)


def test_stages_add_up_to_the_network_end_to_end(stages: list[Piece]) -> None:
    weights = sum(p.nbytes for p in build("end to end", Namespace(**SMALL)).parameters())
    assert sum(stage.weights for stage in stages) == weights
    assert all(stage.flops.per_sample > 0 and stage.held.per_sample > 0 for stage in stages)


def test_the_bubble_is_p_minus_1_over_m_plus_p_minus_1() -> None:
    assert bubble(4, 16) == 3 / 19
    assert bubble(1, 16) == 0
    even = [piece(1e9)] * 4
    assert pipeline(even, 4, 64, 4, 1, FAST, most=16).efficiency == pytest.approx(1 - bubble(4, 16))


def test_where_links_cost_nothing_only_uneven_blocks_do() -> None:
    even, uneven = [piece(1e9)] * 4, [piece(2e9), piece(1e9), piece(1e9), piece(1e9)]
    assert block_parallel(even, 4, 64, 8, 1, FAST).efficiency == pytest.approx(1)
    assert block_parallel(uneven, 4, 64, 8, 1, FAST).efficiency == pytest.approx(5 / 8)
    assert data("", uneven, 64, 8, 1, FAST).efficiency == pytest.approx(1)


def test_a_border_carries_the_whole_batch_once_and_back_in_a_pipeline() -> None:
    even = [piece(1e9, handed_on=10.0)] * 4
    assert block_parallel(even, 4, 64, 16, 1, FAST).border == 640
    assert pipeline(even, 4, 64, 16, 1, FAST, most=4).border == 2 * 640


@pytest.mark.parametrize(
    ("times", "transfers", "expected"),
    [
        ([3.0, 3.0], [0.0, 0.0], 6.0),
        ([3.0, 3.0], [5.0, 0.0], 6.0),  # hidden behind the second: begun at 1, ends at 6
        ([3.0, 3.0], [7.0, 0.0], 8.0),
        ([3.0, 3.0], [0.0, 4.0], 8.0),  # begun at 4, with the last backward pass
    ],
)
def test_an_average_runs_beside_the_next_block(
    times: list[float], transfers: list[float], expected: float
) -> None:
    assert with_averaging(times, transfers) == expected


def test_a_ring_sends_almost_twice_the_gradients_and_leaves_a_node_at_its_speed() -> None:
    machines = Machines(1e12, 8, 100.0, 10.0, 0.0)
    assert machines.all_reduce(800, 1) == 0
    assert machines.all_reduce(800, 8) == 2 * 7 / 8 * 800 / 100
    assert machines.all_reduce(800, 16) == 2 * 15 / 16 * 800 / 10
    assert machines.hand_on(800, 2, 8) == 800 / 100
    assert machines.hand_on(800, 16, 64) == 8 * 800 / 10, "eight devices share the way out"


def test_the_table_has_four_ways_for_every_number_of_devices(
    blocks: list[Piece], stages: list[Piece]
) -> None:
    settings = arguments().parse_args(["--batch", "64"])
    rows = {n: costs(blocks, stages, 1, n, settings, FAST) for n in (8, 16)}
    for listed in rows.values():
        assert all(0 < cost.efficiency <= 1.001 and cost.memory > 0 for cost in listed)
        assert len({cost.way for cost in listed}) == 4
    assert len(block_table([*blocks[:1], *blocks[:1], *blocks]).splitlines()) == 2 + len(blocks)
    printed = table("way", rows, 64)
    assert len(printed.splitlines()) == 2 + 2 * 4
    assert {line.count("|") for line in printed.splitlines()} == {10}
