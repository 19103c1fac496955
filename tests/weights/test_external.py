"""Files of exactly the published layouts, with random weights: torchvision's and our outputs differ
by exactly 0."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from small import small_network, weights
from torch import Tensor, nn

from blocklearn import BlockwiseModule, ExpandPooling, JointEmbedding, Projector, UserError

CHANNELS = (256, 512, 1024, 2048)


def published_network(kernel_size: int = 1, fused: bool = False, **changes: Any) -> BlockwiseModule:
    pooling = partial(ExpandPooling, kernel_size=kernel_size, fused=fused)
    objective = partial(JointEmbedding, pooling=pooling, projector=partial(Projector, widths=[4]))
    return BlockwiseModule(objective, "resnet50", **changes)


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(3)
    model = torchvision.models.resnet50()
    model.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return with_statistics(model)


def with_statistics(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return model.eval()


def authors_heads(kernel_size: int) -> nn.ModuleDict:
    return with_statistics(  # pyright: ignore[reportReturnType]
        nn.ModuleDict(
            {
                f"pool_conv_block_{k}": nn.Sequential(
                    nn.Conv2d(channels, 2048, kernel_size, padding=kernel_size // 2, bias=False),
                    nn.BatchNorm2d(2048),
                )
                for k, channels in enumerate(CHANNELS, 1)
            }
        )
    )


@torch.no_grad()
def torchvision_features(
    model: Any, x: Tensor, heads: Mapping[str, nn.Module] | None = None
) -> dict[str, Tensor]:
    """The raw global average of every stage, and the head's 2048 numbers."""
    features = {}
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    for k in range(1, 5):
        x = getattr(model, f"layer{k}")(x)
        features[f"layer{k}/raw"] = x.mean(dim=(2, 3))
        if heads is not None:
            features[f"layer{k}/head"] = heads[f"pool_conv_block_{k}"](x).relu().mean(dim=(2, 3))
    return features


@torch.no_grad()
def our_features(network: BlockwiseModule, x: Tensor) -> dict[str, Tensor]:
    values = network.eval().stage_features(x)
    return {spec.key: value for spec, value in zip(network.feature_specs(), values, strict=True)}


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_authors_file_gives_the_authors_features(
    kernel_size: int, resnet: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads = authors_heads(kernel_size)
    path = tmp_path / "blockwise.pth"
    torch.save({**resnet.state_dict(), **heads.state_dict()}, path)
    network = published_network(kernel_size, checkpoint=str(path))
    x = torch.randn(1, 3, 40, 40)
    theirs, ours = torchvision_features(resnet, x, heads), our_features(network, x)
    assert len(ours) == 8
    assert {key: float((ours[key] - theirs[key]).abs().max()) for key in ours} == dict.fromkeys(
        ours, 0.0
    )
    fused = our_features(published_network(kernel_size, fused=True, checkpoint=str(path)), x)
    torch.testing.assert_close(fused, theirs, rtol=1e-5, atol=1e-6)
    assert not caplog.records


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


FORMS = {
    "plain": lambda state: dict(state),
    "with a classifier": lambda state: {
        **state,
        "fc.weight": torch.zeros(1000, 2048),
        "fc.bias": torch.zeros(1000),
    },
    "checkpoint of a distributed training": lambda state: {
        "epoch": 7,
        "model": {
            **prefixed(state, "module.backbone."),
            "module.projector.0.weight": torch.zeros(8, 2048),
        },
        "optimizer": {"state": {}},
    },
    "state_dict": lambda state: {"state_dict": prefixed(state, "module.")},
    "backbone": lambda state: prefixed(state, "backbone."),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_plain_resnet50_state_is_read_in_all_its_forms(
    form: str, resnet: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "resnet50.pth"
    torch.save(FORMS[form](resnet.state_dict()), path)
    network = published_network(checkpoint=str(path))
    x = torch.randn(1, 3, 40, 40)
    theirs, ours = torchvision_features(resnet, x), our_features(network, x)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    (record,) = caplog.records
    assert "these heads keep their initial weights: layer1 (not in the file)" in record.getMessage()


def test_a_state_in_safetensors_is_read(tmp_path: Path) -> None:
    first, path = small_network(), tmp_path / "backbone.safetensors"
    save_file(first.backbone_state_dict(), path)
    second = small_network(checkpoint=str(path))
    ours, theirs = first.backbone_state_dict(), second.backbone_state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def small_file(tmp_path: Path, **changes: Any) -> tuple[BlockwiseModule, Path]:
    """A file in the authors' layout for the small network."""
    network, path = small_network(**changes), tmp_path / "small.pth"
    heads = {
        f"pool_conv_block_{k}.{number}.{name}": tensor
        for k, block in enumerate(network.walked, 1)
        for number, part in enumerate(("conv", "norm"))
        # pyright: ignore
        for name, tensor in getattr(block.objective.pooling, part).state_dict().items()
    }
    torch.save(network.backbone_state_dict() | heads, path)
    return network, path


def test_the_projectors_keep_their_initial_weights(tmp_path: Path) -> None:
    _, path = small_file(tmp_path)
    torch.manual_seed(1)
    initial = weights(small_network())
    torch.manual_seed(1)
    loaded = weights(small_network(checkpoint=str(path)))
    projectors = [name for name in initial if ".projector." in name]
    assert projectors
    assert all(torch.equal(initial[name], loaded[name]) for name in projectors)
    assert not any(
        torch.equal(initial[n], loaded[n]) for n in initial if n.endswith("conv1.weight")
    )


def test_a_head_belongs_to_the_stage_it_was_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An end-to-end network takes the last head, a network in two blocks the second and the
    last."""
    first, path = small_file(tmp_path)
    wanted = first.walked[3].objective.get_submodule("pooling.conv").weight
    for blocks in ("end_to_end", [["layer1", "layer2"], ["layer3", "layer4"]]):
        network = small_network(blocks=blocks, checkpoint=str(path))
        assert torch.equal(
            network.walked[-1].objective.get_submodule("pooling.conv").weight, wanted
        )  # pyright: ignore
    assert not caplog.records


def test_a_head_of_another_shape_is_told_and_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, path = small_file(tmp_path)
    pooling = partial(ExpandPooling, width=24, kernel_size=3)
    objective = partial(JointEmbedding, pooling=pooling, projector=partial(Projector, widths=[4]))
    small_network(objective=objective, checkpoint=str(path))
    (record,) = caplog.records
    assert (
        "layer1 (conv.weight is (24, 8, 1, 1) there and (24, 8, 3, 3) here)" in record.getMessage()
    )


def test_another_backbone_is_refused_by_name(tmp_path: Path) -> None:
    _, path = small_file(tmp_path)
    with pytest.raises(
        UserError,
        match=r"the backbone in .*small.pth is another one: other shapes: layer1.0.conv1.weight",
    ):
        small_network(checkpoint=str(path), backbone_kwargs={"layers": [1, 1, 1, 1]})
    with pytest.raises(
        UserError, match=r"it lacks layer1.1.conv1.weight.*Name the right one with --model.backbone"
    ):
        small_network(
            checkpoint=str(path),
            backbone_kwargs={"layers": [2, 1, 1, 1], "channels": [8, 8, 16, 16]},
        )


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):  # what a pickle may carry
        return (Path.touch, (self.mark,))


def test_a_hostile_published_file_is_refused_and_nothing_in_it_runs(
    tmp_path: Path, resnet: nn.Module
) -> None:
    path, mark = tmp_path / "resnet50.pth", tmp_path / "was_here"
    torch.save({**resnet.state_dict(), "fc.weight": Hostile(mark)}, path)
    with pytest.raises(UserError, match="more than tensors and plain data, refused"):
        small_network(checkpoint=str(path))
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have run


@pytest.mark.parametrize(
    "content", [{}, {"state_dict": {}}, {"epoch": 3}, {"layer1/conv.weight": torch.zeros(1)}, [1]]
)
def test_a_file_without_a_backbone_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "nothing.pth"
    torch.save(content, path)
    with pytest.raises(
        UserError, match="nothing.pth was not written by blocklearn fit, and holds no weights"
    ):
        small_network(checkpoint=str(path))


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="cut.safetensors cannot be read"):
        small_network(checkpoint=str(path))
