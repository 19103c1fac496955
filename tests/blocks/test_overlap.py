"""Overlapping blocks (LoCo): neighbours share a stage, which both train and one owns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import small_batch, small_data, small_network, small_trainer, weights

from blocklearn import Block, BlockwiseModule, SequentialSchedule, UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives.objective import LocalBatch
from blocklearn.optim.warmup_cosine import ConstantLR
from blocklearn.training.contract import Carried

OVERLAPPING = [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.1)


def test_every_stage_has_one_owner() -> None:
    network = small_network(blocks=OVERLAPPING)
    assert [[spec.name for spec in block.specs] for block in network.walked] == [
        ["layer1", "layer2"],
        ["layer3"],
        ["layer4"],
    ]
    assert network.structure.blocks == OVERLAPPING
    pointers = [p.data_ptr() for block in network.walked for p in block.parameters()]
    assert len(pointers) == len(set(pointers))
    names = list(network.backbone_state_dict())
    assert len(names) == len(set(names))
    assert set(names) == set(small_network().backbone_state_dict())


def test_a_loss_reaches_its_own_stages_and_the_shared_one_and_no_further() -> None:
    reach = measure_reach(small_network(blocks=OVERLAPPING), small_batch())
    assert [[norm is not None for norm in row.norms] for row in reach] == [
        [True, False, False],
        [True, True, False],
        [False, True, True],
    ]
    assert not any(row.leaks_into or row.unreached for row in reach)
    network = small_network(blocks=OVERLAPPING)
    first, second, _ = network.walked
    batch = small_batch()
    handed_on = first.local_step(Carried(batch.views), batch).carried
    second.local_step(handed_on, batch).loss.backward()
    # layer1: in front of the shared stage
    assert all(p.grad is None for p in first.stages[0].parameters())
    assert all(p.grad is not None for p in first.stages[1].parameters())  # layer2


def plain_gradients(network: BlockwiseModule, views: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The reference: one shared graph, each loss taken by itself, its gradient stopped in front of
    its first stage."""
    batch = small_batch(dtype=torch.float64)
    stages = [stage for block in network.walked for stage in block.stages]
    total: dict[str, torch.Tensor] = {}
    for k, block in enumerate(network.walked):
        network.zero_grad(set_to_none=True)
        features = []
        for view in views:
            x = view
            for position, stage in enumerate(stages[: k + 2]):
                x = stage(x.detach() if position == k else x)
            features.append(x)
        block.objective(LocalBatch(features, batch)).loss.backward()
        for name, p in network.named_parameters():
            if p.grad is not None:
                total[name] = total.get(name, torch.zeros_like(p)) + p.grad
    network.zero_grad(set_to_none=True)
    return total


def test_an_update_is_by_the_sum_of_both_losses_gradients(tmp_path: Path) -> None:
    """Against the reference, in float64: after one SGD step every weight has moved by -lr times
    that gradient."""
    seed_everything(0, verbose=False)
    network = small_network(blocks=OVERLAPPING, optimizer=sgd, lr_schedule=ConstantLR()).double()
    batch = small_batch(dtype=torch.float64)
    expected = plain_gradients(network, batch.views)
    before = weights(network)
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    small_trainer(tmp_path, max_steps=1, precision="64-true").fit(
        network, train_dataloaders=loader, val_dataloaders=loader
    )
    for name, p in network.named_parameters():
        torch.testing.assert_close(
            before[name] - p.detach(), 0.1 * expected[name], rtol=1e-8, atol=1e-12
        )


def test_gradients_of_two_blocks_at_most_exist_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[int] = []
    network = small_network(blocks=OVERLAPPING)
    local_step = Block.local_step

    def counting(block: Block, *args: Any, **kwargs: Any) -> Any:
        alive.append(
            sum(any(p.grad is not None for p in other.parameters()) for other in network.walked)
        )
        return local_step(block, *args, **kwargs)

    monkeypatch.setattr(Block, "local_step", counting)
    small_trainer(tmp_path, max_steps=2).fit(network, datamodule=small_data())
    assert alive == [0, 1, 1] * 2
    assert all(p.grad is None for p in network.parameters())


def test_neighbours_that_share_a_stage_must_learn_together(tmp_path: Path) -> None:
    for changes in ({"schedule": SequentialSchedule()}, {"stop_epochs": [1, 2, 2]}):
        network = small_network(blocks=OVERLAPPING, **changes)
        with pytest.raises(
            UserError,
            match="block1 and block2 share layer2, so they must learn from the same batches",
        ):
            small_trainer(tmp_path, max_epochs=4).fit(network, datamodule=small_data())


def test_the_whole_network_runs_every_stage_once() -> None:
    torch.manual_seed(3)
    overlapping = small_network(blocks=OVERLAPPING).eval()
    torch.manual_seed(3)
    plain = small_network().eval()
    image = torch.randn(2, 3, 32, 32)
    for name, tensor in overlapping.backbone_state_dict().items():
        tensor.copy_(plain.backbone_state_dict()[name])
    assert torch.equal(overlapping(image), plain(image))
    assert [spec.key for spec in overlapping.feature_specs()] == [
        "layer1/raw",
        "layer2/raw",
        "layer2/head",
        "layer3/raw",
        "layer3/head",
        "layer4/raw",
        "layer4/head",
    ]
