"""Invariants 1 and 2: no gradient crosses a border, and no graph outlives its block's turn."""

import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from masked import KINDS, LOCO, MERGED, masked_batch, masked_network
from small import OBJECTIVE, small_batch, small_network
from torch import Tensor

from blocklearn import Batch, BlockwiseModule, JointEmbedding, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives import LocalBatch, ObjectiveOutput
from blocklearn.runs.run_folder import find_config
from blocklearn.training.contract import Carried, Clock


def reach(network: BlockwiseModule, batch: Batch) -> list[list[bool]]:
    """Whether the loss of block i (row) reaches a parameter of block j (column)."""
    return [[norm is not None for norm in row.norms] for row in measure_reach(network, batch)]


def identity(count: int) -> list[list[bool]]:
    return [[i == j for j in range(count)] for i in range(count)]


@pytest.mark.parametrize("noise", ["none", "all"])
def test_the_loss_of_a_block_reaches_its_own_parameters_and_no_others(noise: str) -> None:
    assert reach(small_network(noise=noise), small_batch()) == identity(4)


def test_merged_blocks_and_end_to_end_are_isolated_as_grouped() -> None:
    merged = small_network(blocks=[["layer1", "layer2"], ["layer3", "layer4"]])
    assert reach(merged, small_batch()) == identity(2)
    assert reach(small_network(blocks="end_to_end"), small_batch()) == [[True]]


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_paint_what_is_hidden_are_isolated_and_every_parameter_learns(
    kind: str,
) -> None:
    for blocks, count in ((6, 6), (4, 4), (MERGED, 2), ("end_to_end", 1)):
        network, batch = masked_network(kind, blocks=blocks), masked_batch(kind)
        rows = measure_reach(network, batch)
        assert [[norm is not None for norm in row.norms] for row in rows] == identity(count)
        assert not any(row.unreached for row in rows)
    loco = masked_network(kind, blocks=LOCO)
    assert reach(loco, masked_batch(kind)) == [
        [True, False, False],
        [True, True, False],
        [False, True, True],
    ]


def published_network(tmp_path: Path, *changes: str) -> BlockwiseModule:
    model = yaml.safe_load(find_config("bt_blockwise.yaml").read_text())["model"]
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump({"model": model}))
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(BlockwiseModule, "model")
    return parser.instantiate(parser.parse_args(["--config", str(path), *changes])).model


def assert_every_parameter_has_its_gradient(network: BlockwiseModule, batch: Batch) -> None:
    carried = Carried(batch.views)
    for block in network.walked:
        output = block.local_step(carried, batch, Clock(0))
        output.loss.backward()
        carried = output.carried
    assert all(p.grad is not None for p in network.parameters())


def test_the_published_resnet50_recipe_is_isolated(tmp_path: Path) -> None:
    network = published_network(tmp_path, "--model.objective.projector.widths=[32,32,32]")
    assert network.structure.backbone == "resnet50"
    batch = small_batch(size=2, pixels=64)
    assert reach(network, batch) == identity(4)
    network.zero_grad(set_to_none=True)
    assert_every_parameter_has_its_gradient(network, batch)


@pytest.mark.slow
def test_the_published_recipe_is_isolated_at_full_width(tmp_path: Path) -> None:
    network = published_network(tmp_path)
    heads = sum(
        p.numel()
        for block in network.walked
        for p in block.objective.get_submodule("projector").parameters()
    )
    assert heads == 604_110_848
    assert reach(network, small_batch(size=2, pixels=64)) == identity(4)


def test_the_projectors_of_the_published_recipe_start_as_copies(tmp_path: Path) -> None:
    network = published_network(tmp_path, "--model.objective.projector.widths=[8,8,8]")
    first, *others = [
        block.objective.get_submodule("projector").state_dict() for block in network.walked
    ]
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)
    pointers = [p.data_ptr() for p in network.parameters()]
    assert len(pointers) == len(set(pointers))


def test_no_tensor_saved_for_a_blocks_backward_lives_when_the_next_block_runs() -> None:
    network = small_network()
    optimizers = [
        network.rule.build_optimizer(block.parameters(), None) for block in network.walked
    ]
    saved: list[weakref.ref[Tensor]] = []
    alive_at_start: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        keep = tensor.detach().clone()  # a tensor that nothing but the graph holds
        saved.append(weakref.ref(keep))
        return keep

    batch = small_batch()
    carried = Carried(batch.views)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for block, optimizer in zip(network.walked, optimizers, strict=True):
            alive_at_start.append(sum(ref() is not None for ref in saved))
            output = block.local_step(carried, batch)
            output.loss.backward()
            network.rule.apply(optimizer)
            assert all(p.grad is None for p in network.parameters())
            carried = output.carried
    assert len(saved) > 100
    assert alive_at_start == [0, 0, 0, 0]


class Leaky(JointEmbedding):
    """Hands its features on with their graph, and learns from what it receives."""

    def forward(self, local: LocalBatch) -> ObjectiveOutput:
        output = super().forward(local)
        extra = sum(view.mean() for view in local.received.get("nested", {}).get("views", ()))
        kept = {"nested": {"views": [view * 2 for view in local.features]}, "number": 3}
        return ObjectiveOutput(output.loss + extra, output.metrics, kept)


def test_what_an_objective_hands_on_has_no_graph_whatever_it_had() -> None:
    network = small_network(objective=partial(Leaky, **OBJECTIVE.keywords))
    reach = measure_reach(network, small_batch())
    assert not any(row.leaks_into for row in reach)
    batch = small_batch()
    handed_on = network.walked[0].local_step(Carried(batch.views), batch).carried
    assert handed_on.extras["number"] == 3
    assert not any(view.requires_grad for view in handed_on.extras["nested"]["views"])
    with_graph = Carried(
        handed_on.views, {"nested": {"views": [v.requires_grad_() for v in handed_on.views]}}
    )
    network.walked[1].local_step(with_graph, batch).loss.backward()
    assert all(view.grad is None for view in with_graph.views)


def test_an_objective_of_before_0_2_is_refused_with_what_to_write() -> None:
    class Before(JointEmbedding):
        def forward(self, features: Any, batch: Any) -> Any:  # pyright: ignore
            raise NotImplementedError

    with pytest.raises(UserError, match=r"Before.forward takes features and batch, since 0.2"):
        small_network(objective=Before)


def test_the_proof_leaves_every_module_in_its_mode() -> None:
    network = small_network()
    network.walked[1].eval()
    modes = [module.training for module in network.modules()]
    measure_reach(network, small_batch())
    assert [module.training for module in network.modules()] == modes
