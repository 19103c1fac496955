"""Every shipped recipe, and every choice on every axis, takes two steps on small images and moves
every block."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import seed_everything
from masked import DECODER, KINDS, LOCO, MERGED, masked_data, masked_network
from small import OBJECTIVE, same_weights, small_data, small_network, small_trainer, weights
from sounds import write_librispeech, write_spoken_digits
from test_configs import OVERLAYS, RECIPES, parser

from blocklearn import (
    LPL,
    BarlowTwins,
    BlockwiseModule,
    ClassTokenPooling,
    Combined,
    ExpandPooling,
    GlobalPooling,
    JointEmbedding,
    LocalPooling,
    MLPSRPooling,
    Projector,
    RecurrentContext,
    SequentialSchedule,
    SimCLR,
    SimultaneousSchedule,
    SupCon,
    Supervised,
    TemporalInfoNCE,
    TokenMeanPooling,
    TwoLayerPooling,
    VICReg,
)
from blocklearn.data import ImageDataModule, KeyedDataModule, MovingDigits, MultiCrop, SpokenDigits
from blocklearn.evaluation import FineTune, LinearProbe
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.masks import BlockMask
from blocklearn.optim.warmup_cosine import ConstantLR

ONE_UNIT: dict[str, Any] = {"layers": [1, 1, 1, 1]}
NARROW_TRANSFORMER = {"embed_dim": 24, "depth": 4, "num_heads": 2}
OWN_ENCODERS: dict[str, dict[str, Any]] = {
    "gim_resnet": {
        "layers": [1, 1, 1],
        "channels": [8, 8, 8],
    },  # in NHWC, oneDNN's AVX2 kernels overrun on 4
    "cifar_resnet": {"layers": [2, 1, 1], "channels": [8, 8, 8]},
    "clapp_vgg": {"widths": [8] * 6},
    "gim_speech": {"channels": 8},
    "vgg": {"mlp_ratio": 0.01},
    "vit_": {"img_size": 32, "patch_size": 8, **NARROW_TRANSFORMER},
    "video_vit_": {
        "frames": 4,
        "tubelet": 2,
        "img_size": 16,
        "patch_size": 8,
        **NARROW_TRANSFORMER,
    },
}
NARROW = {  # heads that are too wide for a moment's training, by a word of the recipe
    "prototypes: 65536": "head.prototypes=16",
    "hidden: 2048": "head.hidden=8",
    "queue_size": "queue_size=24",
}
VIT = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_kwargs": {"img_size": 32, "patch_size": 8, "depth": 4},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnet50d": ONE_UNIT,
    "resnetv2_50": ONE_UNIT,
    "vgg11_bn": {"mlp_ratio": 0.01},
    "densenet121": {"growth_rate": 4, "block_config": [1, 1, 1, 1]},
    "efficientnet_b0": {},
    "regnety_002": {},
    "mobilenetv3_small_050": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": VIT["backbone_kwargs"],
    "deit_tiny_distilled_patch16_224": VIT["backbone_kwargs"],
    "swin_tiny_patch4_window7_224": {
        "img_size": 32,
        "window_size": 2,
        "patch_size": 1,
        "depths": [1, 1, 1, 1],
    },
}


def assert_two_steps_move_every_block(
    network: BlockwiseModule, folder: Path, data: KeyedDataModule | None = None, **trainer: Any
) -> None:
    """Both what a block computes with and what it learns by, apart: stages that stand still would
    not be noticed behind a projector that moves."""
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    data = data or small_data(batch_size=4, num_images=16)
    steps = 2 * len(network.walked)
    trained = small_trainer(folder, max_epochs=-1, max_steps=steps, **trainer)
    trained.fit(network, datamodule=data)
    after = dict(network.named_parameters())
    for block in network.walked:
        for part in ("stages", "objective"):
            module = block.get_submodule(part)
            names = [
                f"blocks.{block.index}.{part}.{name}"
                for name, p in module.named_parameters()
                if p.ndim > 1 and p.requires_grad
            ]
            moved = any(not torch.equal(after[name], before[name]) for name in names)
            assert moved or not names, f"{part} of {block.name}"
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_takes_two_steps(path: Path, tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    text = re.sub(r"widths: \[\d{3,}[\d, ]*\]", "widths: [8, 8]", path.read_text())
    recipe = tmp_path / path.name
    recipe.write_text(text)
    model = yaml.safe_load(text)["model"]
    kind = next((kind for kind in OWN_ENCODERS if model.get("backbone", "").startswith(kind)), "")
    published = model.get("network", {}).get("backbone_kwargs", {})
    kept = {"in_chans", "dynamic_img_size"} & published.keys()
    kwargs = OWN_ENCODERS.get(kind, ONE_UNIT) | {name: published[name] for name in kept}
    changes = [f"--model.network.backbone_kwargs={kwargs}"]
    changes += ["--model.lr_schedule.warmup_epochs=0"] if "ConstantLR" not in text else []
    behind = "objective." if "objective" in model["objective"].get("init_args", {}) else ""
    narrowed = [narrow for part, narrow in NARROW.items() if part in text]
    changes += [f"--model.objective.{behind}{narrow}" for narrow in narrowed]
    if kind == "gim_speech":
        write = (
            write_librispeech
            if "class_path: blocklearn.data.LibriSpeech" in text
            else write_spoken_digits
        )
        changes += [
            f"--data.root={write(tmp_path / 'sounds')}",
            "--data.batch_size=4",
            "--data.num_workers=0",
        ]
    parts = parser().instantiate(parser().parse_args(["--config", str(recipe), *changes]))
    if kind == "video_vit_":
        data = MovingDigits(frames=4, image_size=16, batch_size=4)
    else:
        data = parts.data if kind == "gim_speech" else small_images(parts)
    assert_two_steps_move_every_block(parts.model, tmp_path, data)


def small_images(parts: Any) -> ImageDataModule:
    """Synthetic ones in the size and with the views of a recipe."""
    grey = {"greyscale": True} if parts.data.channels == 1 else {}
    few = {"num_small": 2} if isinstance(parts.data.recipe, MultiCrop) else {}
    size = parts.model.patches.image_size if parts.model.patches else 32
    recipe = partial(type(parts.data.recipe), **grey, **few)
    return small_data(batch_size=4, num_images=16, recipe=recipe, image_size=size)


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_an_evaluation_takes_two_epochs_and_leaves_the_network_as_it_is(
    path: Path, tmp_path: Path
) -> None:
    seed_everything(0, verbose=False)
    content = yaml.safe_load(path.read_text())
    settings = ProbeSettings(**{**content["probe"], "epochs": 2, "batch_size": 8})
    network = small_network()
    before = weights(network)
    tunes = "evaluation" in content
    evaluation = FineTune() if tunes else LinearProbe()
    evaluation.under(settings, lambda epochs: small_trainer(tmp_path, max_epochs=epochs))
    rows = evaluation.run(network, small_data(num_images=64))
    assert [row.feature for row in rows] == (["finetuned"] if tunes else ["raw", "head"] * 4)
    assert all(0 <= row.values["top1"] <= 100 for row in rows)
    assert same_weights(before, weights(network))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_takes_two_steps(name: str, tmp_path: Path) -> None:
    network = small_network(backbone=name, backbone_kwargs=FAMILIES[name])
    assert_two_steps_move_every_block(network, tmp_path)


@pytest.mark.parametrize(
    "criterion",
    [BarlowTwins(), LPL(), SimCLR(), SupCon(), VICReg()],
    ids=lambda c: type(c).__name__,
)
def test_a_criterion_takes_two_steps(criterion: Any, tmp_path: Path) -> None:
    assert_two_steps_move_every_block(
        small_network(objective=partial(OBJECTIVE, criterion=criterion)), tmp_path
    )


@pytest.mark.parametrize(
    "objective",
    [
        partial(Supervised, num_classes=4),
        partial(
            Combined, objectives=[OBJECTIVE, partial(Supervised, num_classes=4)], weights=[1, 0.1]
        ),
    ],
    ids=["supervised", "beside a self-supervised one"],
)
def test_labels_train_blocks(objective: Any, tmp_path: Path) -> None:
    assert_two_steps_move_every_block(small_network(objective=objective), tmp_path)


CONTRASTS = {
    "cyclic": {"sampling": "cyclic"},
    "same sequence": {"sampling": "same_sequence"},
    "whole sequence": {"window": None},
    "autoregressive": {"context": partial(RecurrentContext, hidden=4)},
    "without backpropagation through time": {
        "context": partial(RecurrentContext, hidden=4, bptt=False)
    },
}
SPEECH: dict[str, Any] = {"backbone": "gim_speech_8k", "backbone_kwargs": {"channels": 6}}


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_contrast_over_time_takes_two_steps(name: str, tmp_path: Path) -> None:
    objective = partial(TemporalInfoNCE, steps=3, **CONTRASTS[name])
    data = SpokenDigits(write_spoken_digits(tmp_path / "sounds"), batch_size=4, num_workers=0)
    assert_two_steps_move_every_block(BlockwiseModule(objective, **SPEECH), tmp_path, data)


@pytest.mark.parametrize("blocks", ["per_stage", "end_to_end"])
def test_labels_train_speech(blocks: Any, tmp_path: Path) -> None:
    data = SpokenDigits(
        write_spoken_digits(tmp_path / "sounds"), target="speaker", batch_size=4, num_workers=0
    )
    network = BlockwiseModule(
        partial(Supervised, num_classes=data.num_classes), blocks=blocks, **SPEECH
    )
    assert_two_steps_move_every_block(network, tmp_path, data)


POOLINGS = {
    "global": (GlobalPooling, {}),
    "local": (LocalPooling, {}),
    "mlp-sr": (MLPSRPooling, {}),
    "mlp-sr on tokens": (MLPSRPooling, VIT),
    "two_layer": (partial(TwoLayerPooling, width=12, grid=2), {}),
    "expand 1": (partial(ExpandPooling, width=12), {}),
    "expand 3": (partial(ExpandPooling, width=12, kernel_size=3), {}),
    "expand 3 on tokens": (partial(ExpandPooling, width=12, kernel_size=3), VIT),
    "local on tokens": (LocalPooling, VIT),
    "token mean": (TokenMeanPooling, VIT),
    "class token": (ClassTokenPooling, VIT),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_takes_two_steps(name: str, tmp_path: Path) -> None:
    pooling, backbone = POOLINGS[name]
    objective = partial(
        JointEmbedding, pooling=pooling, projector=partial(Projector, widths=[16, 16])
    )
    data = small_data(batch_size=4, num_images=16, image_size=32 if backbone else 64)
    assert_two_steps_move_every_block(
        small_network(objective=objective, **backbone), tmp_path, data
    )


WALKS: dict[str, dict[str, Any]] = {
    "simultaneous": {"schedule": SimultaneousSchedule()},
    "sequential": {"schedule": SequentialSchedule()},
    "sequential by shares": {"schedule": SequentialSchedule([1, 1, 2, 4])},
    "end to end": {"blocks": "end_to_end"},
    "a block a unit": {
        "blocks": "per_unit",
        "backbone_kwargs": {"layers": [2, 1, 1, 1], "channels": [8, 8, 16, 16]},
    },
    "merged": {"blocks": [["layer1", "layer2"], ["layer3", "layer4"]]},
    "overlapping": {"blocks": [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]},
    "stem apart": {"blocks": [["stem"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]},
    "small stem": {"small_stem": True},
    "every noise": {"noise": ["all", "hw", "height", "channel"]},
}


@pytest.mark.parametrize("name", WALKS)
def test_a_schedule_a_grouping_and_a_noise_take_two_steps(name: str, tmp_path: Path) -> None:
    assert_two_steps_move_every_block(
        small_network(lr_schedule=ConstantLR(), **WALKS[name]), tmp_path
    )


TOKENS: dict[str, tuple[str, dict[str, Any]]] = {
    "K = 6": ("clips", {"blocks": 6}),
    "K = 4 of 6 layers": ("images", {"blocks": 4}),
    "sequential": ("clips", {"schedule": SequentialSchedule(), "lr_schedule": ConstantLR()}),
    "end to end": ("clips", {"blocks": "end_to_end"}),
    "merged": ("images", {"blocks": MERGED}),
    "overlapping": ("clips", {"blocks": LOCO}),
    "plain pixels": ("images", {"objective": partial(DECODER, normalise=False)}),
    "rectangles": ("clips", {"mask": BlockMask(0.5)}),
    "fixed positions": ("images", {"fixed_positions": True}),
    "noise": ("clips", {"noise": "all"}),
}


@pytest.mark.parametrize("name", TOKENS)
def test_hidden_tokens_train_blocks(name: str, tmp_path: Path) -> None:
    kind, changes = TOKENS[name]
    assert_two_steps_move_every_block(masked_network(kind, **changes), tmp_path, masked_data(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_tokens_train_blocks_in_bf16(kind: str, tmp_path: Path) -> None:
    assert_two_steps_move_every_block(
        masked_network(kind), tmp_path, masked_data(kind), precision="bf16-mixed"
    )
