"""An auxiliary network in front of any objective, whatever it is made of."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from masked import DECODER, masked_batch, masked_network
from small import (
    OBJECTIVE,
    StopAt,
    same_weights,
    small_batch,
    small_data,
    small_network,
    small_trainer,
    weights,
)
from torch import Tensor, nn

from blocklearn import (
    BYOL,
    AugLocal,
    BlockwiseModule,
    Combined,
    MomentumAuxiliary,
    Projector,
    SimCLR,
    Supervised,
    UserError,
    VICReg,
)
from blocklearn.blocks.costs import count_costs
from blocklearn.blocks.imagined import imagined_weights
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.objectives import AuxiliaryObjective, LocalBatch
from blocklearn.training.block_parts import require_parallel
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.schedule import SimultaneousSchedule

WRAPPERS: dict[str, Any] = {
    "AugLocal": AugLocal,
    "MAN": MomentumAuxiliary,
    "MAN++": partial(MomentumAuxiliary, scaled=True),
}
MLP = partial(Projector, widths=[8, 4])
OBJECTIVES: dict[str, Any] = {
    "Supervised": partial(Supervised, num_classes=3),
    "BarlowTwins": OBJECTIVE,
    "SimCLR": partial(OBJECTIVE, criterion=SimCLR()),
    "VICReg": partial(OBJECTIVE, criterion=VICReg()),
    "BYOL": partial(BYOL, projector=MLP, predictor=MLP),
    "Combined": partial(Combined, objectives=[OBJECTIVE, partial(Supervised, num_classes=3)]),
}
NARROW: dict[str, dict[str, Any]] = {
    "ResNet": {},
    "ConvNeXt": {
        "backbone": "convnext_atto",
        "backbone_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    },
    "ViT": {
        "backbone": "vit_tiny_patch16_224",
        "backbone_kwargs": {
            "img_size": 32,
            "patch_size": 8,
            "depth": 4,
            "embed_dim": 24,
            "num_heads": 2,
        },
    },
    "VGG": {"backbone": "vgg11_bn", "backbone_kwargs": {"mlp_ratio": 0.01}, "blocks": 3},
    "Swin": {
        "backbone": "swin_tiny_patch4_window7_224",
        "backbone_kwargs": {
            "img_size": 32,
            "window_size": 2,
            "patch_size": 1,
            "depths": [1, 1, 1, 1],
            "embed_dim": 8,
            "num_heads": [1, 1, 1, 1],
        },
    },
}


def behind(wrapper: str, objective: Any = OBJECTIVE, **changes: Any) -> BlockwiseModule:
    return small_network(objective=partial(WRAPPERS[wrapper], objective=objective), **changes)


def two_steps(network: BlockwiseModule, batch: Any) -> list[Tensor]:
    """Of every block, as in training; the losses of the second."""
    optimizers = [
        torch.optim.SGD([p for p in block.parameters() if p.requires_grad], lr=0.05)
        for block in network.walked
    ]
    losses: list[Tensor] = []
    for step in range(2):
        carried, losses = Carried(batch.views), []
        for block, optimizer in zip(network.walked, optimizers, strict=True):
            optimizer.zero_grad()
            output = block.local_step(carried, batch, Clock(step))
            output.loss.backward()
            optimizer.step()
            block.objective.after_update(Clock(step))
            carried = output.carried
            losses.append(output.loss.detach())
    return losses


@pytest.mark.parametrize("backbone", ["ResNet", "ConvNeXt", "ViT"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_two_steps_move_stages_network_and_head_of_every_block(
    wrapper: str, objective: str, backbone: str
) -> None:
    network = behind(wrapper, OBJECTIVES[objective], **NARROW[backbone])
    before = weights(network)
    assert all(torch.isfinite(loss) for loss in two_steps(network, small_batch(4)))
    moved = {name for name, now in weights(network).items() if not torch.equal(now, before[name])}
    for block in network.walked[:-1]:
        for part in ("stages.", "objective.network.", "objective.objective."):
            assert any(name.startswith(f"blocks.{block.index}.{part}") for name in moved), part
    assert network.walked[-1].objective.network is None


@pytest.mark.parametrize("backbone", NARROW)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_no_loss_reaches_another_block_and_every_parameter_is_reached(
    wrapper: str, backbone: str
) -> None:
    rows = measure_reach(behind(wrapper, **NARROW[backbone]), small_batch(4))
    assert not any(row.leaks_into or row.unreached for row in rows)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_loss_is_not_changed_by_what_later_blocks_have_become(wrapper: str) -> None:
    network, batch = behind(wrapper), small_batch()
    first = network.walked[0]
    before = first.local_step(Carried(batch.views), batch, Clock()).loss
    with torch.no_grad():
        for parameter in network.walked[1].parameters():
            parameter.add_(1)
    assert torch.equal(first.local_step(Carried(batch.views), batch, Clock()).loss, before)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_last_block_and_a_block_that_is_joined_to_none_have_the_plain_objective(
    wrapper: str,
) -> None:
    plain = small_network().walked[-1].objective.state_dict().keys()
    last = behind(wrapper).walked[-1].objective
    alone = WRAPPERS[wrapper](small_network().walked[-1].spec, OBJECTIVE)
    for objective in (last, alone):
        assert {name.removeprefix("objective.") for name in objective.state_dict()} == plain
        assert [entry.kind for entry in objective.published()] == ["head"]
    assert behind(wrapper, blocks="end_to_end").walked[0].objective.network is None


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_run_that_is_resumed_ends_with_the_same_weights_averages_too(
    wrapper: str, tmp_path: Path
) -> None:
    def train(*callbacks: Any, resume: Path | None = None) -> dict[str, Tensor]:
        seed_everything(0, verbose=False)
        network = behind(wrapper)
        trainer = small_trainer(tmp_path, max_epochs=2, callbacks=list(callbacks))
        data = small_data(num_images=16)
        trainer.fit(network, datamodule=data, ckpt_path=resume, weights_only=True)
        return weights(network)

    whole, path = train(), tmp_path / "cut.ckpt"
    with pytest.raises(RuntimeError, match="killed"):
        train(StopAt(3, path))
    assert same_weights(whole, train(resume=path))


def test_a_view_passes_stages_and_network_before_the_next_one_is_made() -> None:
    seen: list[str] = []

    class Noted(nn.Identity):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(f"network {int(input[0, 0, 0, 0])}")
            return super().forward(input)

    class Views(Sequence[Tensor]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, number: Any) -> Any:
            if number >= 2:
                raise IndexError
            seen.append(f"stages {number}")
            return torch.full((4, 8, 8, 8), float(number), requires_grad=True)

    objective = behind("AugLocal").walked[0].objective
    objective.network = nn.Sequential(Noted(), *objective.network)
    objective(LocalBatch(Views(), small_batch(4)))
    assert seen == ["stages 0", "network 0", "stages 1", "network 1"]


def test_what_lies_behind_a_network_is_probed_where_it_is_asked_for_and_not_exported() -> None:
    network = behind("AugLocal").eval()
    assert [spec.key for spec in network.feature_specs()] == [
        *(f"layer{k}/raw" for k in (1, 2, 3, 4)),
        "layer4/head",
    ]
    assert list(network.published_tensors()) == ["layer4"]
    x = small_batch(4).views[0]
    heads = list(network.stage_features(x, kinds=["head"]))
    assert len(heads) == 4
    first = network.walked[0]
    assert torch.equal(
        heads[0], first.objective.objective.pooling(first.objective.network(first(x)))
    )


def test_hidden_tokens_are_painted_from_behind_the_network() -> None:
    network = masked_network(objective=partial(AugLocal, objective=DECODER))
    assert network.walked[0].objective.needs_images
    rows = measure_reach(network, masked_batch())
    assert not any(row.leaks_into or row.unreached for row in rows)


def test_costs_are_counted_with_the_network_which_takes_no_memory_where_it_is_imagined() -> None:
    with imagined_weights():
        imagined = behind("AugLocal", blocks=2)
    first, _ = count_costs(imagined, small_batch(4))
    network = behind("AugLocal", blocks=2).walked[0]
    assert first.weight_bytes == sum(t.nbytes for t in [*network.parameters(), *network.buffers()])


def test_only_what_reads_other_blocks_is_kept_out_of_block_parallel() -> None:
    require_parallel(behind("AugLocal").walked, SimultaneousSchedule(), 2)
    with pytest.raises(UserError, match="the MomentumAuxiliary of block1 reads the weights"):
        require_parallel(behind("MAN").walked, SimultaneousSchedule(), 2)


def test_features_of_which_a_later_unit_makes_nothing_are_refused_before_training() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("kernel size can't be greater than actual input size")

    objective = behind("AugLocal").walked[0].objective
    assert isinstance(objective, AuxiliaryObjective)
    objective.network = Nothing()
    with pytest.raises(UserError, match=r"AugLocal make nothing of features of the shape \(1, 8"):
        objective.require_views(torch.zeros(1, 8, 2, 2), 2)
