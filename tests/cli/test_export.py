"""`blocklearn export` as a user runs it, and what others make of its files."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from small import small_network, small_trainer
from torch import Tensor, nn

from blocklearn import (
    BlockwiseModule,
    ExpandPooling,
    JointEmbedding,
    Patches,
    PatchInfoNCE,
    Projector,
)
from blocklearn.__main__ import main
from blocklearn.interop.export import save_backbone
from blocklearn.interop.papers import papers_of
from blocklearn.objectives import RecurrentContext, TemporalInfoNCE
from blocklearn.weights.structure import NetworkStructure

WITHOUT_BLOCKLEARN = "import sys; sys.modules['blocklearn'] = None\n"
RESNET18 = {"backbone": "resnet18", "backbone_kwargs": {}}


def checkpoint_of(network: BlockwiseModule, run: Path) -> Path:
    """A checkpoint as the Trainer writes it."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # pyright: ignore[reportArgumentType]
    path = run / "checkpoints" / "last.ckpt"
    trainer = small_trainer(run)
    trainer.strategy.connect(network)
    trainer.save_checkpoint(path)
    return path


def image() -> Tensor:
    return torch.linspace(-1, 1, 3 * 40 * 40).reshape(1, 3, 40, 40)


@torch.no_grad()
def features(network: BlockwiseModule) -> dict[str, Tensor]:
    values = network.eval().stage_features(image())
    return {spec.key: value for spec, value in zip(network.feature_specs(), values, strict=True)}


def python_of(card: Path) -> list[str]:
    return [part.split("```")[0] for part in card.read_text().split("```python\n")[1:]]


def compare(features_of_image: str) -> str:
    return (
        "image = torch.linspace(-1, 1, 3 * 40 * 40).reshape(1, 3, 40, 40)\n"
        f"with torch.no_grad(): theirs = {features_of_image}\n"
        "assert torch.equal(torch.load('expected.pt'), theirs)\n"
    )


TIMM_MAP = "model.forward_features(image)"
TORCHVISION_MAP = (
    "torch.nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool, model.layer1, "
    "model.layer2, model.layer3, model.layer4)(image)"
)


def test_the_cards_code_loads_the_files_without_blocklearn(tmp_path: Path) -> None:
    """In a process that cannot import it, timm's and torchvision's features are the network's own,
    also of a network whose stem was changed for small images."""
    script = [WITHOUT_BLOCKLEARN, "import os, torch\n"]
    for stem in ("usual", "small"):
        network = small_network(**RESNET18, small_stem=stem == "small")
        assert main(["export", str(checkpoint_of(network, tmp_path / stem))]) == 0
        folder = tmp_path / stem / "export"
        for_timm, for_torchvision = python_of(folder / "README.md")
        assert ("maxpool = torch.nn.Identity()" in for_timm) == (stem == "small")
        with torch.no_grad():
            torch.save(network.eval()(image()), folder / "expected.pt")
        script += [
            f"os.chdir({str(folder)!r})\n",
            for_timm,
            compare(TIMM_MAP),
            for_torchvision,
            compare(TORCHVISION_MAP),
        ]
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [sys.executable, "-c", "".join(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("backbone", "kwargs", "changed"),
    [
        ("resnet18", {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}, {}),
        ("resnet18d", {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}, {"small_stem": True}),
        ("mobilenetv3_small_050", {}, {}),  # has weights behind forward_features
        ("mobilenetv3_small_050", {}, {"small_stem": True}),
    ],
)
def test_the_cards_code_rebuilds_any_backbone(
    backbone: str,
    kwargs: dict[str, Any],
    changed: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = small_network(backbone=backbone, backbone_kwargs=kwargs, **changed)
    assert main(["export", str(checkpoint_of(network, tmp_path))]) == 0
    assert (
        f"No file for torchvision: only its own ResNets are written, not {backbone}"
        in capsys.readouterr().out
    )
    (for_timm,) = python_of(tmp_path / "export" / "README.md")
    monkeypatch.chdir(tmp_path / "export")
    made: dict[str, Any] = {}
    exec(for_timm, made)
    with torch.no_grad():
        assert torch.equal(made["model"].forward_features(image()), network.eval()(image()))


def test_the_torchvision_file_holds_tensors_and_nothing_else(tmp_path: Path) -> None:
    path = checkpoint_of(small_network(**RESNET18), tmp_path)
    assert (
        main(["export", str(path), "--to", str(tmp_path / "out"), "--format", "torchvision"]) == 0
    )
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "README.md",
        "heads.safetensors",
        "pytorch_model_torchvision.pth",
    }
    state = torch.load(tmp_path / "out" / "pytorch_model_torchvision.pth", weights_only=True)
    assert type(state) is dict
    assert all(type(tensor) is Tensor for tensor in state.values())
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    model.load_state_dict(state, strict=True)


def test_the_files_say_what_they_hold(tmp_path: Path) -> None:
    network = small_network(blocks=[["layer1", "layer2"], ["layer3", "layer4"]])
    assert main(["export", str(checkpoint_of(network, tmp_path))]) == 0
    for name in ("model.safetensors", "heads.safetensors"):
        with safe_open(tmp_path / "export" / name, "pt") as file:
            about = file.metadata()
        assert (about["backbone"], about["blocks"]) == (
            "resnet18",
            '[["layer1", "layer2"], ["layer3", "layer4"]]',
        )
    heads = load_file(tmp_path / "export" / "heads.safetensors")
    assert {name.split("/")[0] for name in heads} == {"layer2", "layer4"}
    assert torch.equal(
        heads["layer2/conv.weight"],
        network.walked[0].objective.get_submodule("pooling.conv").weight,
    )  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "blocks", ["per_stage", [["layer1", "layer2"], ["layer2", "layer3"], ["layer3", "layer4"]]]
)
def test_export_and_import_change_no_output(
    blocks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = small_network(blocks=blocks)
    assert main(["export", str(checkpoint_of(first, tmp_path))]) == 0
    second = small_network(blocks=blocks, checkpoint=str(tmp_path / "export"))
    ours, theirs = features(first), features(second)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 4 + len(first.walked)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not caplog.records


def test_a_published_file_survives_import_export_and_import(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The authors' layout on a ResNet-18, which is recognised by its tensors."""
    torch.manual_seed(5)
    model = torchvision.models.resnet18()
    heads = {
        f"pool_conv_block_{k}.{number}.{name}": tensor
        for k, channels in enumerate((64, 128, 256, 512), 1)
        for number, part in enumerate((nn.Conv2d(channels, 24, 1, bias=False), nn.BatchNorm2d(24)))
        for name, tensor in part.state_dict().items()
    }
    published = tmp_path / "published.pth"
    torch.save(
        {"model": {f"module.{n}": t for n, t in {**model.state_dict(), **heads}.items()}}, published
    )
    objective = partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=24),
        projector=partial(Projector, widths=[4]),
    )
    first = BlockwiseModule(objective, "resnet18", checkpoint=str(published))
    assert main(["export", str(published), "--to", str(tmp_path / "first")]) == 0
    second = BlockwiseModule(objective, "resnet18", checkpoint=str(tmp_path / "first"))
    assert main(["export", str(tmp_path / "first"), "--to", str(tmp_path / "second")]) == 0
    third = BlockwiseModule(objective, "resnet18", checkpoint=str(tmp_path / "second"))
    wanted = features(first)
    assert all(
        torch.equal(wanted[key], features(network)[key])
        for network in (second, third)
        for key in wanted
    )
    assert torch.equal(wanted["layer4/raw"], torchvision_average(model))
    assert not caplog.records


@torch.no_grad()
def torchvision_average(model: Any) -> Tensor:
    model.eval()
    x = model.maxpool(model.relu(model.bn1(model.conv1(image()))))
    return model.layer4(model.layer3(model.layer2(model.layer1(x)))).mean(dim=(2, 3))


def test_of_a_published_file_the_card_claims_no_training(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    assert main(["export", str(path)]) == 0
    card = tmp_path / "export" / "README.md"
    assert "does not say how it was trained" in card.read_text()
    assert "2302.01647" not in card.read_text()
    assert "blockwise-learning" not in front_matter(card)["tags"]


def test_what_a_runs_backbone_file_says_of_its_network_is_kept(tmp_path: Path) -> None:
    network = small_network(blocks=[["layer1", "layer2"], ["layer3", "layer4"]], small_stem=True)
    save_backbone(network, tmp_path / "backbone.safetensors")
    for source, target in (("backbone.safetensors", "first"), ("first", "second")):
        assert main(["export", str(tmp_path / source), "--to", str(tmp_path / target)]) == 0
    with safe_open(tmp_path / "second" / "model.safetensors", "pt") as file:
        about = file.metadata()
    assert json.loads(about["backbone_kwargs"]) == network.structure.backbone_kwargs
    assert (json.loads(about["blocks"]), about["small_stem"]) == (
        network.structure.blocks,
        "true",
    )
    assert "trained in 2 blocks" in (tmp_path / "second" / "README.md").read_text()


def test_export_builds_no_projector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint_of(small_network(), tmp_path)
    built: list[object] = []
    monkeypatch.setattr(Projector, "__init__", lambda self, *args, **kwargs: built.append(self))
    assert main(["export", str(path)]) == 0
    assert not built


def front_matter(card: Path) -> Mapping[str, Any]:
    return yaml.safe_load(card.read_text().split("---\n")[1])


def test_the_card_tells_recipe_and_probes(tmp_path: Path) -> None:
    path = checkpoint_of(small_network(), tmp_path)
    recipe = {
        "seed_everything": 3,
        "trainer": {"max_epochs": 18},
        "model": {
            "backbone": "resnet18",
            "objective": {
                "class_path": "blocklearn.objectives.JointEmbedding",
                "init_args": {
                    "criterion": {
                        "class_path": "blocklearn.BarlowTwins",
                        "init_args": {"lambd": 0.02},
                    }
                },
            },
        },
        "data": {"class_path": "blocklearn.data.Digits", "init_args": {"batch_size": 64}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recipe))
    row = {
        "stage": "layer1",
        "index": 1,
        "feature": "raw",
        "lr": 0.1,
        "epochs": 60,
        "top1": 91.254,
        "top5": 99.5,
    }
    results = {"checkpoint": str(path), "dataset": "digits", "num_classes": 10, "rows": [row]}
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "results.json").write_text(json.dumps(results))
    assert main(["export", str(path)]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert "- objective: JointEmbedding(criterion=BarlowTwins(lambd=0.02))" in card
    assert "- data: blocklearn.data.Digits" in card
    assert "- epochs: 18" in card
    assert "| 1 layer1 | raw | 0.1 | 60 | 91.25 | 99.50 |" in card
    assert front_matter(tmp_path / "export" / "README.md")["library_name"] == "timm"
    assert "arxiv:2302.01647" in front_matter(tmp_path / "export" / "README.md")["tags"]


SPOKEN = {"class_path": "blocklearn.data.SpokenDigits", "init_args": {"sample_rate": 8000}}
CROPS = {"class_path": "blocklearn.data.CropViews", "init_args": {"greyscale": True}}
STL10 = {"class_path": "blocklearn.data.STL10", "init_args": {"image_size": 64}}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            SPOKEN,
            "sound `(B, 1, L)` at 8000 Hz, samples in [-1, 1] less the mean -0.00097, divided by "
            "0.0608",
        ),
        (
            STL10,
            "images of 64 x 64 pixels in red, green and blue `(B, 3, H, W)`, values in [0, 1] "
            "less the mean (0.4313, 0.4156, 0.3663), divided by (0.2683, 0.261, 0.2687)",
        ),
        (
            {**STL10, "init_args": {"image_size": 64, "recipe": CROPS}},
            "images of 64 x 64 pixels in grey `(B, 1, H, W)`, values in [0, 1] less the mean "
            "(0.412), divided by (0.257)",
        ),
        ({**STL10, "init_args": {"recipe": {"class_path": "mine.Views"}}}, None),
        ({"class_path": "mine.Data"}, None),
        ({"class_path": "blocklearn.data.gone.Data"}, None),
    ],
)
def test_the_card_tells_what_the_network_is_fed_where_that_is_known(
    tmp_path: Path, data: dict[str, Any], told: str | None
) -> None:
    path = checkpoint_of(small_network(), tmp_path)
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"model": {"backbone": "resnet18"}, "data": data})
    )
    assert main(["export", str(path)]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert (f"- input: {told}\n" in card) if told else ("- input:" not in card)


@pytest.mark.parametrize(
    ("objective", "holds", "holds_not"),
    [
        (JointEmbedding, "pooling heads", "context networks"),
        (
            partial(TemporalInfoNCE, context=partial(RecurrentContext, hidden=8)),
            "context networks",
            "pooling heads",
        ),
    ],
)
def test_the_card_tells_of_the_heads_that_are_there(
    tmp_path: Path, objective: Any, holds: str, holds_not: str
) -> None:
    sound = {
        "backbone": "gim_speech_8k",
        "backbone_kwargs": {"channels": 8},
        "blocks": "end_to_end",
    }
    network = (
        small_network()
        if objective is JointEmbedding
        else small_network(objective=objective, **sound)
    )
    assert main(["export", str(checkpoint_of(network, tmp_path))]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert f"holds {holds} as `STAGE/" in card
    assert f"holds {holds_not}" not in card


def test_the_card_tells_no_recipe_and_no_probes_that_are_not_the_networks(tmp_path: Path) -> None:
    path = checkpoint_of(small_network(), tmp_path)
    (tmp_path / "config.yaml").write_text("model: {backbone: resnet50, noise: all}\n")
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "results.json").write_text('{"checkpoint": "other.ckpt", "rows": [{}]}')
    assert main(["export", str(path)]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert "## Recipe" not in card
    assert "## Probes" not in card
    assert "license" not in front_matter(tmp_path / "export" / "README.md")


def test_the_card_tells_the_probes_of_every_target_on_all_labels(tmp_path: Path) -> None:
    path = checkpoint_of(small_network(), tmp_path)
    row = {"stage": "layer1", "index": 1, "feature": "raw", "lr": 0.1, "epochs": 60, "top5": 99.5}
    for name, target, part, top1 in (
        ("probe_digit", "digit", 1.0, 71.0),
        ("probe_speaker", "speaker", 1.0, 72.0),
        ("probe_digit_0.1", "digit", 0.1, 73.0),
        ("probe_digit_untrained", "digit", 1.0, 74.0),
    ):
        results = {
            "checkpoint": str(path),
            "dataset": "sounds",
            "target": target,
            "num_classes": 10,
        }
        content = {**results, "settings": {"labelled_part": part}, "rows": [{**row, "top1": top1}]}
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    assert main(["export", str(path)]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert re.findall(r"## Linear probes, (\w+)", card) == ["digit", "speaker"]
    assert re.findall(r"(7\d\.00)", card) == ["71.00", "72.00"]


@pytest.mark.parametrize(
    ("objective", "blocks", "numbers"),
    [
        ("JointEmbedding", [["layer1"], ["layer2"]], ["2302.01647", "2103.03230"]),
        ("JointEmbedding", [["layer1", "layer2"]], ["2103.03230"]),
        ("TemporalInfoNCE", [["conv1"], []], ["1905.11786"]),
        ("TemporalInfoNCE", [["conv1"]], ["1807.03748"]),
        ("BYOL", [["layer1", "layer2"], ["layer2", "layer3"]], ["2006.07733", "2008.01342"]),
        ("MaskedReconstruction", [["blocks.5"], ["blocks.11"]], ["2311.17218", "2111.06377"]),
        ("MaskedReconstruction", [["blocks.5", "blocks.11"]], ["2111.06377"]),
        ("Mine", [["layer1"], ["layer2"]], []),
    ],
)
def test_the_card_names_the_papers_of_the_recipe_and_no_others(
    objective: str, blocks: list[list[str]], numbers: list[str]
) -> None:
    criterion = {"criterion": {"class_path": "blocklearn.BarlowTwins"}}
    own = {"class_path": f"blocklearn.{objective}", "init_args": {}}
    if objective == "JointEmbedding":
        own["init_args"] = criterion
    structure = NetworkStructure("resnet18", blocks)
    assert list(papers_of({"model": {"objective": own}}, structure)) == numbers
    assert papers_of({}, structure) == {}


def test_the_card_of_a_video_network_names_the_paper_on_video() -> None:
    own = {"class_path": "blocklearn.MaskedReconstruction", "init_args": {}}
    structure = NetworkStructure("video_vit_tiny", [["blocks.5"], ["blocks.11"]])
    numbers = list(papers_of({"model": {"objective": own}}, structure))
    assert numbers == ["2601.09040", "2111.06377"]


def test_timm_loads_the_folder_by_itself(tmp_path: Path) -> None:
    """`local-dir:` is timm's own; the configuration says how images are to be fed."""
    run = Path(shutil.copytree(Path(__file__).parents[1] / "old" / "run_0.1", tmp_path / "run"))
    assert main(["export", str(run / "checkpoints" / "last.ckpt")]) == 0
    loaded = timm.create_model(f"local-dir:{run / 'export'}", pretrained=True).eval()
    own = BlockwiseModule.load_from_checkpoint(run / "checkpoints" / "last.ckpt")
    x = torch.randn(2, 3, 20, 20)
    with torch.no_grad():
        assert torch.equal(loaded.forward_features(x), own(x))
    fed = loaded.pretrained_cfg
    assert tuple(fed["input_size"]) == (3, 20, 20)
    assert fed["tag"] == "blocklearn"


def test_of_patches_the_card_tells_how_an_images_feature_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = Patches(size=16, stride=12, grid=3)  # of the 40 pixels of `image`
    network = small_network(objective=partial(PatchInfoNCE, steps=1), patches=patches)
    assert main(["export", str(checkpoint_of(network, tmp_path))]) == 0
    card = (tmp_path / "export" / "README.md").read_text()
    assert (
        "images of 40 x 40 pixels are cut into 3 x 3 patches of 16 pixels, 12 from one to the next"
        in card
    )
    assert "arXiv:" not in card, "no recipe says whose method it is"
    monkeypatch.chdir(tmp_path / "export")
    made: dict[str, Any] = {"images": image()}
    (for_timm,) = python_of(tmp_path / "export" / "README.md")
    with torch.no_grad():
        exec(for_timm + card.split("```text\n")[1].split("```")[0], made)
    torch.testing.assert_close(made["feature"], features(network)["layer4/raw"])
    with safe_open(tmp_path / "export" / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["patches"]) == {"size": 16, "stride": 12, "grid": 3}
    assert main(["export", str(tmp_path / "export"), "--to", str(tmp_path / "again")]) == 0
    assert "3 x 3 patches of 16 pixels" in (tmp_path / "again" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["none.ckpt"], "there is no file none.ckpt"),
        (["run/checkpoints/last.ckpt", "--format", "torchvision"], "not resnet18 with layers"),
        (["strange.pth"], "none of resnet18, resnet34"),
        (["strange.pth", "--backbone", "resnet18"], "is another one: it lacks conv1.weight"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint_of(small_network(), tmp_path / "run")
    torch.save({"weight": torch.zeros(3)}, "strange.pth")
    assert main(["export", *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.match("blocklearn: error: ", line)
    assert complaint in line
