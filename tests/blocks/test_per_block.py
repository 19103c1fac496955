"""What one block may have of its own."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import small_data, small_network, small_trainer, weights

from blocklearn import BlockwiseModule, GaussianNoise, Projector, Supervised, UserError
from blocklearn.optim.warmup_cosine import ConstantLR

NARROW = partial(Projector, widths=[8])


def moved(folder: Path, **changes: Any) -> list[torch.Tensor]:
    """How far one step of SGD moves each block's first weight."""
    seed_everything(0, verbose=False)
    network: BlockwiseModule = small_network(
        optimizer=partial(torch.optim.SGD, lr=0.1), lr_schedule=ConstantLR(), **changes
    )
    before = weights(network)
    small_trainer(folder, max_steps=1).fit(network, datamodule=small_data())
    return [
        next(p.detach() - before[f"blocks.{k}.{name}"] for name, p in block.named_parameters())
        for k, block in enumerate(network.walked)
    ]


def test_a_learning_rate_and_a_loss_weight_scale_one_blocks_update(tmp_path: Path) -> None:
    plain = moved(tmp_path)
    by_rate = moved(tmp_path, lr_factors=[1, 0.5, 1, 2])
    by_weight = moved(tmp_path, loss_weights=[1, 0.5, 1, 2])
    for changed in (by_rate, by_weight):
        for factor, one, other in zip([1, 0.5, 1, 2], plain, changed, strict=True):
            torch.testing.assert_close(other, factor * one, rtol=1e-3, atol=1e-6)


def test_noise_and_its_strength_by_block() -> None:
    network = small_network(noise=["none", "all", GaussianNoise("hw", 0.1), None])
    kinds = [
        (block.noise.spread, block.noise.sigma) if block.noise else None for block in network.walked
    ]  # pyright: ignore
    assert kinds == [None, ("all", 0.25), ("hw", 0.1), None]


def test_a_projector_by_block() -> None:
    network = small_network(
        projectors=[
            None,
            partial(Projector, widths=[8]),
            None,
            partial(Projector, widths=[4, 4, 4]),
        ]
    )
    widths = [
        block.objective.get_submodule("projector")[-1].out_features for block in network.walked
    ]  # pyright: ignore
    assert widths == [16, 8, 16, 4]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lr_factors": [1, 2]}, "4 blocks, but 2 lr_factors; give one a block"),
        ({"noise": ["all"]}, "4 blocks, but 1 noise"),
        ({"loss_weights": [1, 1, 1, -1]}, "loss_weights must be positive"),
        ({"stop_epochs": [0, 1, 1, 1]}, "stop_epochs at least 1"),
        ({"blocks": "end_to_end", "stop_epochs": [1, 2]}, "1 blocks, but 2 stop_epochs"),
        (
            {
                "objective": partial(Supervised, num_classes=3),
                "projectors": [NARROW, None, None, None],
            },
            "the Supervised on layer1 has no projector",
        ),
        (
            {"objective": partial(Supervised, num_classes=3), "identical_projectors": True},
            "Supervised of block1 has no",
        ),
        (
            {"projectors": [None, NARROW, None, None], "identical_projectors": True},
            "projectors of block1 and block2 differ",
        ),
    ],
)
def test_a_list_that_does_not_fit_the_blocks_is_refused(
    changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        small_network(**changes)
