"""What one block may have of its own."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from small import OBJECTIVE, per_block, small_data, small_network, small_trainer, weights

from blocklearn import BlockwiseModule, GaussianNoise, Projector, Supervised, UserError
from blocklearn.blocks.settings import BlockSettings
from blocklearn.optim.warmup_cosine import ConstantLR

UNITS = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
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
    by_rate = moved(tmp_path, per_block=per_block(lr_factor=[1, 0.5, 1, 2]))
    by_weight = moved(tmp_path, per_block=per_block(loss_weight=[1, 0.5, 1, 2]))
    for changed in (by_rate, by_weight):
        for factor, one, other in zip([1, 0.5, 1, 2], plain, changed, strict=True):
            torch.testing.assert_close(other, factor * one, rtol=1e-3, atol=1e-6)


def test_noise_and_its_strength_by_block() -> None:
    network = small_network(
        noise="channel", per_block=per_block(noise=["none", "all", GaussianNoise("hw", 0.1), None])
    )
    kinds = [
        (block.noise.spread, block.noise.sigma) if block.noise else None for block in network.walked
    ]  # pyright: ignore
    assert kinds == [None, ("all", 0.25), ("hw", 0.1), ("channel", 0.25)]


def test_a_projector_by_block() -> None:
    network = small_network(
        per_block=per_block(
            projector=[
                None,
                partial(Projector, widths=[8]),
                None,
                partial(Projector, widths=[4, 4, 4]),
            ]
        )
    )
    widths = [
        block.objective.get_submodule("projector")[-1].out_features for block in network.walked
    ]  # pyright: ignore
    assert widths == [16, 8, 16, 4]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"per_block": {"block5": BlockSettings()}}, "settings for block5, the network has block1"),
        ({"per_block": {"layer1": BlockSettings()}}, "settings for layer1, the network has block1"),
        ({"blocks": "end_to_end", "per_block": {"block2": BlockSettings()}}, "network has block1$"),
        (
            {
                "objective": partial(Supervised, num_classes=3),
                "per_block": per_block(projector=[NARROW, None, None, None]),
            },
            "the Supervised on layer1 has no projector",
        ),
        (
            {"objective": partial(Supervised, num_classes=3), "identical_projectors": True},
            "Supervised of block1 has no",
        ),
        (
            {
                "per_block": per_block(projector=[None, NARROW, None, None]),
                "identical_projectors": True,
            },
            "projectors of block1 and block2 differ",
        ),
    ],
)
def test_settings_that_do_not_fit_the_blocks_are_refused(
    changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        small_network(**changes)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"loss_weight": -1}, "loss_weight must be positive"),
        ({"lr_factor": float("inf")}, "lr_factor and loss_weight must be positive and finite"),
        ({"stop_epoch": 0}, "stop_epoch at least 1"),
        ({"recompute": "some"}, "recompute is one of nothing, cheap"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        BlockSettings(**wrong)


def test_the_lists_of_earlier_versions_are_taken_with_a_line_that_says_what_to_write(
    capsys: pytest.CaptureFixture[str],
) -> None:
    new = small_network(per_block=per_block(lr_factor=[1, 0.5, 1, 2], noise=[None, "all"] * 2))
    old = BlockwiseModule(
        OBJECTIVE,
        "resnet18",
        backbone_kwargs=UNITS,
        lr_factors=[1, 0.5, 1, 2],
        noise=["none", "all", "none", "all"],
        gradient_clip_norm=3,
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "lr_factors -> per_block: {block1: {lr_factor: ...}, ...}" in line
    assert "gradient_clip_norm -> update: {gradient_clip_norm: ...}" in line
    assert [b.settings.lr_factor for b in old.walked] == [b.settings.lr_factor for b in new.walked]
    assert [b.noise is None for b in old.walked] == [b.noise is None for b in new.walked]
    assert old.rule.gradient_clip_norm == 3
    assert old.structure == new.structure


def test_a_list_that_is_longer_than_the_network_is_refused() -> None:
    with pytest.raises(UserError, match="settings for block5"):
        small_network(lr_factors=[1, 1, 1, 1, 1])
