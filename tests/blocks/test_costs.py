"""What a block costs: counted without computing anything, and equal to what a real step shows."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed
from masked import masked_batch, masked_network
from small import network, small_batch, small_network
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.optim import SGD, Adam, AdamW

from benchmarks import growth
from benchmarks.ways_to_train import OURS, build, random_batch
from blocklearn import (
    BYOL,
    LARS,
    Batch,
    BlockwiseModule,
    Patches,
    PatchInfoNCE,
    Supervised,
    TemporalInfoNCE,
)
from blocklearn.blocks.costs import BlockCost, count_costs, measure_costs
from blocklearn.blocks.imagined import imagined_weights
from blocklearn.blocks.live_bytes import Products
from blocklearn.training.block_parts import shares_with_the_one_before
from blocklearn.training.contract import Carried, Clock

LOCO = [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]


def sizes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def patches() -> tuple[BlockwiseModule, Batch]:
    own = Patches(size=8, stride=4, grid=4)
    made = small_network(objective=partial(PatchInfoNCE, steps=1, skip=0, negatives=2), patches=own)
    batch = small_batch(4, own.image_size)
    return made, batch._replace(views=batch.views[:1])


def sound() -> tuple[BlockwiseModule, Batch]:
    made = network(
        partial(TemporalInfoNCE, steps=2, negatives=2),
        "gim_speech",
        [["conv1"], ["conv2"], ["conv3"], ["conv4"], ["conv5"], []],
        backbone_kwargs={"channels": 8},
    )
    return made, Batch([torch.randn(3, 1, 5120)], torch.zeros(3).long(), torch.arange(3))


CASES = {
    "images": lambda: (small_network(), small_batch()),
    "noise": lambda: (small_network(noise="all"), small_batch()),
    "supervised": lambda: (
        small_network(objective=partial(Supervised, num_classes=3)),
        small_batch(),
    ),
    "teachers": lambda: (
        small_network(objective=partial(BYOL, feed_teacher=True)),
        small_batch(),
    ),
    "overlapping": lambda: (small_network(blocks=LOCO), small_batch()),
    "empty block": lambda: (
        small_network(blocks=[["layer1"], [], ["layer2", "layer3", "layer4"]]),
        small_batch(),
    ),
    "patches": patches,
    "sound": sound,
    "masked": lambda: (masked_network("clips"), masked_batch("clips")),
}


@pytest.mark.parametrize("case", CASES)
def test_counted_bytes_are_those_of_a_real_step(case: str) -> None:
    made, batch = CASES[case]()
    costs = count_costs(made, batch)
    batch, carried = made.masked(batch), Carried(batch.views)
    for block, cost in zip(made.train().walked, costs, strict=True):
        output = block.local_step(carried, batch, Clock())
        extras = [t for value in output.carried.extras.values() for t in value]
        handed = [*output.carried.views, *extras, batch.label, batch.index, *batch.visible]
        assert cost.sent_bytes == sizes(handed)
        parameters = list(block.parameters())
        assert cost.weight_bytes == sizes([*parameters, *block.buffers()])
        assert cost.gradient_bytes == sizes([p for p in parameters if p.requires_grad])
        assert (cost.name, cost.stages) == (block.name, block.stage_names)
        carried = output.carried


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW,
        partial(AdamW, fused=True),
        Adam,
        partial(SGD, lr=0.1),
        partial(SGD, lr=0.1, momentum=0.9),
        partial(LARS, lr=0.1),
    ],
    ids=str,
)
def test_counted_optimizer_bytes_are_those_after_a_real_update(optimizer: Any) -> None:
    made, batch = small_network(optimizer=optimizer), small_batch()
    costs = count_costs(made, batch)
    carried = Carried(batch.views)
    for block, cost in zip(made.train().walked, costs, strict=True):
        own = made.rule.build_optimizer(block.parameters(), None)
        output = block.local_step(carried, batch, Clock())
        output.loss.backward()
        made.rule.apply(own)
        state = [t for values in own.state.values() for t in values.values() if t is not None]
        assert cost.optimizer_bytes == sizes(state)
        carried = output.carried


def test_the_largest_step_and_all_products_are_those_of_the_benchmark() -> None:
    settings = argparse.Namespace(
        backbone="resnet18",
        image_size=64,
        batch_size=4,
        width=64,
        blocks="per_stage",
        noise=True,
        channels_last=False,
        compile=False,
    )
    made = build(OURS, settings, partial(SGD, lr=0.1, momentum=0.9, foreach=False))
    costs = count_costs(made, random_batch(settings, 4, 64))
    assert sum(cost.flops for cost in costs) == round(growth.gigaflops(OURS, settings) * 1e9)
    held = growth.held_megabytes(OURS, settings) * 2**20
    # the walk holds a block's loss and metrics while the next one learns
    assert 0 <= max(cost.activation_bytes for cost in costs) - held < 64


def test_the_memory_of_a_block_is_not_that_of_the_block_before() -> None:
    first, *_, last = count_costs(small_network(), small_batch())
    assert last.activation_bytes < first.activation_bytes / 4


def test_a_larger_batch_is_counted_from_a_few_samples_as_it_is() -> None:
    whole = count_costs(small_network(), small_batch(24))
    assert count_costs(small_network(), small_batch(2), samples=24) == whole
    assert count_costs(small_network(), small_batch(24)) == whole
    few = count_costs(small_network(), small_batch(2))
    assert all(
        one.activation_bytes < other.activation_bytes for one, other in zip(few, whole, strict=True)
    )


WITHOUT = ["images", "noise", "teachers", "overlapping", "empty block", "masked"]


@pytest.mark.parametrize("case", WITHOUT)
def test_a_network_without_memory_is_counted_as_one_with(case: str) -> None:
    real, batch = CASES[case]()
    with imagined_weights():
        imagined, _ = CASES[case]()
    assert count_costs(imagined, batch) == count_costs(real, batch)


def test_counting_leaves_the_network_as_it_is() -> None:
    made = small_network(objective=BYOL).eval()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    count_costs(made, small_batch())
    assert not made.training
    assert not made.blocks[0].objective._has_begun  # the teacher still has to
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
    assert all(p.grad is None for p in made.parameters())


def test_counting_asks_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = count_costs(small_network(), small_batch())
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert count_costs(small_network(), small_batch()) == alone  # a collective would fail


def test_under_autocast_half_as_many_bytes_are_sent() -> None:
    batch = small_batch()
    bf16 = partial(torch.autocast, "cpu", torch.bfloat16)
    labels = sizes([batch.label, batch.index])
    for full, half in zip(
        count_costs(small_network(), batch),
        count_costs(small_network(), batch, precision=bf16),
        strict=True,
    ):
        assert full.sent_bytes - labels == 2 * (half.sent_bytes - labels)
        assert full.flops == half.flops


def test_a_block_in_a_window_of_its_own_is_counted_as_learning() -> None:
    from blocklearn import SequentialSchedule

    assert count_costs(small_network(schedule=SequentialSchedule()), small_batch()) == count_costs(
        small_network(), small_batch()
    )


def test_the_products_of_attention_are_counted_on_a_cpu_too() -> None:
    samples, heads, tokens, width = 2, 3, 5, 7
    shape = (samples, heads, tokens, width)
    query, key, value = (torch.randn(shape, requires_grad=True) for _ in range(3))
    with Products() as products:
        scaled_dot_product_attention(query, key, value).sum().backward()
    # two forward, five backward, of which one is computed again
    assert products.flops == 7 * 2 * samples * heads * tokens * tokens * width


def test_blocks_that_share_a_stage_go_together() -> None:
    assert shares_with_the_one_before(small_network(blocks=LOCO).walked) == {1, 2}
    assert shares_with_the_one_before(small_network().walked) == set()


@pytest.mark.parametrize("case", ["images", "overlapping", "sound"])
def test_measuring_adds_seconds_to_what_is_counted(case: str) -> None:
    made, batch = CASES[case]()
    counted = count_costs(made, batch)
    measured = measure_costs(made, batch, repeats=2)
    without = [BlockCost(**{**vars(cost), "seconds": None}) for cost in measured]
    assert without == counted
    assert all(cost.seconds is not None and cost.seconds > 0 for cost in measured)
