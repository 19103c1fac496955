"""A mask that cannot work is refused in one line, before anything is trained."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from masked import DECODER, KINDS, masked_data, masked_network
from small import OBJECTIVE, per_block, same_weights, small_trainer, weights

from blocklearn import Combined, GlobalPooling, Patches, Supervised, UserError
from blocklearn.__main__ import main
from blocklearn.masks import RandomMask, TubeMask

IMAGES = KINDS["images"]["backbone_kwargs"]
SUPERVISED = partial(Supervised, num_classes=4)
EMBEDDING = partial(OBJECTIVE, pooling=GlobalPooling)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no tokens": (
        {"backbone": "resnet18", "backbone_kwargs": {}, "blocks": "per_stage"},
        "MaskedReconstruction hides tokens, layer1 makes maps: take a vision transformer",
    ),
    "a mask on no tokens": (
        {
            "backbone": "resnet18",
            "backbone_kwargs": {},
            "blocks": "per_stage",
            "objective": OBJECTIVE,
        },
        "mask: this backbone makes maps, and a mask hides tokens: take a vision transformer",
    ),
    "images of any size": (
        {"backbone_kwargs": {**IMAGES, "dynamic_img_size": True}},
        "of images of any size: take a vision transformer .* without dynamic_img_size",
    ),
    "a mask on images of any size": (
        {"backbone_kwargs": {**IMAGES, "dynamic_img_size": True}, "objective": EMBEDDING},
        "mask: this backbone makes tokens of images of any size",
    ),
    "tokens that are dropped": (
        {"backbone_kwargs": {**IMAGES, "patch_drop_rate": 0.5}},
        r"mask: the backbone drops tokens too \(patch_drop_rate\)",
    ),
    "patches": (
        {"patches": Patches(size=16, stride=8, grid=3)},
        "mask: images cut into patches have no mask; set --model.patches null",
    ),
    "none hidden": (
        {"mask": RandomMask(0.05)},
        "mask: a ratio of 0.05 leaves 16 of 16 tokens visible; change --model.mask.ratio",
    ),
    "none of a frame hidden": (
        {**KINDS["clips"], "mask": TubeMask(0.05)},
        "mask: a ratio of 0.05 leaves 32 of 32 tokens visible",
    ),
    "both": (
        {"objective": partial(Combined, objectives=[DECODER, SUPERVISED])},
        "Combined: of MaskedReconstruction, Supervised some take the features of all tokens",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_cannot_be_masked_is_not_built(name: str) -> None:
    changes, told = REFUSED[name]
    with pytest.raises(UserError, match=told) as error:
        masked_network(**changes)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, float("nan")])
def test_a_ratio_that_hides_nothing_or_all_is_refused(ratio: float) -> None:
    with pytest.raises(UserError, match="mask: ratio must lie between 0 and 1, got"):
        RandomMask(ratio)


UNTRAINABLE: dict[str, tuple[dict[str, Any], str]] = {
    "nothing hidden": (
        {"mask": None},
        "mask: MaskedReconstruction paints what is hidden, and nothing is; add --model.mask",
    ),
    "all tokens asked for": (
        {"objective": EMBEDDING},
        "mask: JointEmbedding takes the features of all tokens, RandomMask.* hides some",
    ),
    "all tokens asked for by one block": (
        {"per_block": per_block(objective=[None, EMBEDDING, None])},
        "mask: JointEmbedding takes the features of all tokens",
    ),
    "all tokens asked for by parts": (
        {"objective": partial(Combined, objectives=[SUPERVISED, SUPERVISED])},
        "mask: Combined takes the features of all tokens",
    ),
}


@pytest.mark.parametrize("name", UNTRAINABLE)
def test_objectives_that_do_not_fit_the_mask_are_refused_before_training(
    name: str, tmp_path: Path
) -> None:
    changes, told = UNTRAINABLE[name]
    network = masked_network(**changes)
    before = weights(network)
    with pytest.raises(UserError, match=told) as error:
        small_trainer(tmp_path).fit(network, datamodule=masked_data())
    assert len(str(error.value).splitlines()) == 1
    assert same_weights(before, weights(network))


def test_parts_that_all_paint_what_is_hidden_are_combined() -> None:
    network = masked_network(objective=partial(Combined, objectives=[DECODER, DECODER]))
    assert all(block.objective.tokens == "visible" for block in network.walked)


@pytest.mark.parametrize(
    ("setting", "told"),
    [({"depth": 0}, "depth >= 1"), ({"width": 9}, "even width"), ({"heads": 5}, "heads divide")],
)
def test_decoders_out_of_range_are_refused(setting: dict[str, int], told: str) -> None:
    with pytest.raises((UserError, ValueError), match=told):
        masked_network(objective=partial(DECODER, **setting))


def test_the_command_says_in_one_line_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["fit", "--config=bt_digits.yaml", "--model.backbone=vit_tiny_patch16_224"]
    small = "{img_size: 20, patch_size: 4, embed_dim: 24, depth: 4, num_heads: 2}"
    size = f"--model.network.backbone_kwargs={small}"
    masked = ["--model.objective=MaskedReconstruction", "--model.objective.width=12"]
    for more, told in (
        (masked, "add --model.mask RandomMask"),
        ([*masked, "--model.mask=RandomMask", "--model.mask.ratio=0"], "ratio must lie between"),
        (["--model.mask=RandomMask"], "takes the features of all tokens"),
    ):
        assert main([*common, size, *more]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert told in line
