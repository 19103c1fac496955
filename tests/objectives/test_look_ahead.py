from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from small import (
    OBJECTIVE,
    StopAt,
    assert_same_value_and_gradient,
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)
from torch import Tensor, nn

from blocklearn import (
    AugLocal,
    BarlowTwins,
    BlockSettings,
    BlockwiseModule,
    ExpandPooling,
    GlobalPooling,
    LookAheadEmbedding,
    Projector,
    SimCLR,
    Supervised,
    UserError,
    VICReg,
)
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.optim import ConstantLR
from blocklearn.training.block_parts import require_parallel
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.schedule import SimultaneousSchedule

AHEAD: Any = partial(
    LookAheadEmbedding,
    pooling=partial(ExpandPooling, width=24),
    projector=partial(Projector, widths=[16, 16]),
    criterion=partial(BarlowTwins, scale=0.1),
)
VIT = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_kwargs": {
        "img_size": 32,
        "patch_size": 8,
        "depth": 4,
        "embed_dim": 24,
        "num_heads": 2,
    },
}
CONVNEXT = {
    "backbone": "convnext_atto",
    "backbone_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
}


def ahead(objective: Any = AHEAD, **changes: Any) -> BlockwiseModule:
    return small_network(objective=objective, **changes)


def train(folder: Path, *callbacks: Any, resume: Path | None = None, **own: Any) -> Any:
    seed_everything(0, verbose=False)
    sgd = partial(torch.optim.SGD, lr=0.5)
    network = ahead(partial(AHEAD, refresh=3), optimizer=sgd, lr_schedule=ConstantLR(), **own)
    trainer = small_trainer(folder, max_epochs=2, callbacks=list(callbacks))
    data = small_data(num_images=32)
    trainer.fit(network, datamodule=data, ckpt_path=resume, weights_only=True)
    return network


def copied(network: BlockwiseModule) -> list[dict[str, Tensor]]:
    return [
        {name: p.detach().clone() for name, p in block.objective.projector.named_parameters()}
        for block in network.walked
    ]


def test_loss_and_gradients_are_those_of_a_projector_that_is_a_constant() -> None:
    network = ahead().double()
    block, batch = network.walked[0], small_batch(dtype=torch.float64)
    got = block.local_step(Carried(batch.views), batch, Clock()).loss
    first, norm, _, last = (m for m in network.walked[-1].objective.projector)
    z: list[Tensor] = []
    for view in batch.views:
        pooling = block.objective.pooling
        maps = nn.functional.conv2d(block(view), pooling.conv.weight)
        spread = (maps.var(dim=(0, 2, 3), correction=0, keepdim=True) + pooling.norm.eps).sqrt()
        maps = (maps - maps.mean(dim=(0, 2, 3), keepdim=True)) / spread
        weight, bias = pooling.norm.weight[:, None, None], pooling.norm.bias[:, None, None]
        x = (maps * weight + bias).relu().mean(dim=(2, 3)) @ first.weight.detach().T
        x = (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + norm.eps).sqrt()
        z.append((x * norm.weight.detach() + norm.bias.detach()).relu() @ last.weight.detach().T)
    unit = [
        (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + 1e-5).sqrt() / len(x) ** 0.5 for x in z
    ]
    c = unit[0].T @ unit[1]
    diagonal = (c.diagonal() - 1).square().sum()
    others = c.square().sum() - c.diagonal().square().sum()
    criterion = block.objective.criterion
    expected = criterion.scale * (diagonal + criterion.lambd * others)
    learns = [p for p in block.parameters() if p.requires_grad]
    assert {id(p) for p in learns} >= {id(p) for p in block.stages.parameters()}
    assert not {id(p) for p in learns} & {id(p) for p in block.objective.projector.parameters()}
    assert_same_value_and_gradient(got, expected, learns, value=(1e-9, 1e-12))


@pytest.mark.parametrize(
    "criterion", [BarlowTwins(), SimCLR(), VICReg()], ids=lambda c: type(c).__name__
)
@pytest.mark.parametrize("backbone", [{}, VIT, CONVNEXT], ids=["ResNet", "ViT", "ConvNeXt"])
def test_no_loss_reaches_another_blocks_projector_and_all_that_learns_is_reached(
    criterion: Any, backbone: dict[str, Any]
) -> None:
    network = ahead(partial(AHEAD, criterion=criterion), **backbone)
    rows = measure_reach(network, small_batch())
    assert not any(row.leaks_into or row.unreached for row in rows)
    ids = [{id(p) for p in block.objective.projector.parameters()} for block in network.walked]
    assert len(set().union(*ids)) == sum(map(len, ids))


def test_the_copies_are_the_last_projector_as_it_was_at_every_third_batch(tmp_path: Path) -> None:

    seen: list[dict[str, Tensor]] = []

    class Record(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            seen.append(copied(pl_module)[-1])

    network = train(tmp_path, Record())
    *before, last = copied(network)
    assert len(seen) == 8
    for own in before:
        assert same_weights(own, seen[5])  # refreshed behind batch 6, of 8
    assert not same_weights(seen[5], seen[4])
    assert not same_weights(last, seen[5])


def test_an_update_from_several_batches_refreshes_where_it_passes_a_third_one() -> None:
    network = ahead(partial(AHEAD, refresh=3))
    objective = network.walked[0].objective
    refreshed: list[int] = []
    objective._take_over = lambda: refreshed.append(1)  # pyright: ignore
    counts = []
    for step in (1, 3, 5, 7):  # updates behind batches 2, 4, 6, 8
        objective.after_update(Clock(step, group=2))
        counts.append(len(refreshed))
    assert counts == [0, 1, 2, 2]


def test_running_statistics_of_a_copy_are_its_own() -> None:
    network, batch = ahead(partial(AHEAD, refresh=1)), small_batch()
    objective = network.walked[0].objective
    network.walked[0].local_step(Carried(batch.views), batch, Clock())
    mean = objective.projector[1].running_mean.clone()
    with torch.no_grad():
        network.walked[-1].objective.projector[1].running_mean.fill_(9)
        network.walked[-1].objective.projector[1].weight.fill_(3)
    objective.after_update(Clock())
    assert torch.equal(objective.projector[1].running_mean, mean)
    assert torch.equal(objective.projector[1].weight, torch.full((16,), 3.0))


def test_a_run_that_is_resumed_ends_with_the_same_weights_copies_too(tmp_path: Path) -> None:
    whole, path = train(tmp_path), tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, StopAt(4, path))
    assert same_weights(weights(whole), weights(train(tmp_path, resume=path)))


def test_the_last_block_that_has_such_an_objective_trains_the_projector() -> None:
    online = BlockSettings(objective=partial(Supervised, num_classes=3))
    network = ahead(
        blocks=[["layer1"], ["layer2"], ["layer3", "layer4"], []], per_block={"block4": online}
    )
    learns = [
        all(p.requires_grad for p in block.objective.projector.parameters())
        for block in network.walked[:3]
    ]
    assert learns == [False, False, True]
    alone = ahead(blocks="end_to_end").walked[0].objective
    assert all(p.requires_grad for p in alone.parameters())


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UserError, match="takes 16 components, and pools to 8: give both one width"):
        ahead(partial(AHEAD, pooling=GlobalPooling))
    other = BlockSettings(projector=partial(Projector, widths=[8]))
    with pytest.raises(UserError, match="which makes 16 components, its own 8"):
        ahead(per_block={"block2": other})
    with pytest.raises(UserError, match="itself, not a part of its AugLocal"):
        ahead(partial(AugLocal, objective=AHEAD))
    with pytest.raises(ValueError, match="refresh is at least 1, got 0"):
        ahead(partial(AHEAD, refresh=0))
    with pytest.raises(UserError, match="the LookAheadEmbedding of block1 reads the weights"):
        require_parallel(ahead().walked, SimultaneousSchedule(), 2)


def test_projectors_that_begin_alike_are_copies_of_one() -> None:
    network = ahead(identical_projectors=True)
    first, *others = copied(network)
    assert all(same_weights(first, other) for other in others)
    assert not same_weights(first, copied(small_network(objective=OBJECTIVE))[0])
