"""`bt_blockwise.yaml` against the recipe of arXiv 2302.01647 worked out by hand in float64:
torchvision's ResNet-50, plain tensor algebra for heads and loss, plain loops for the learning rate
and LARS. The projectors are narrower, the images smaller; nothing else differs."""

import copy
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torchvision
import yaml
from jsonargparse import ArgumentParser
from small import small_batch
from torch import Tensor, nn

from blocklearn import BlockwiseModule
from blocklearn.backbones.stage import backbone_name
from blocklearn.runs.run_folder import find_config
from blocklearn.training.contract import Carried, Clock

STAGES = ("layer1", "layer2", "layer3", "layer4")
LAMBDA, SCALE = 0.0051, 0.024
PEAK_LR = 0.2 * 2048 / 256
STEPS_PER_EPOCH, EPOCHS, WARMUP_EPOCHS = 625, 300, 10
MOMENTUM, ETA, WEIGHT_DECAY = 0.9, 0.001, 1e-6


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> BlockwiseModule:
    path = Path(tmp_path_factory.mktemp("recipe")) / "model.yaml"
    path.write_text(
        yaml.safe_dump(
            {"model": yaml.safe_load(find_config("bt_blockwise.yaml").read_text())["model"]}
        )
    )
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(BlockwiseModule, "model")
    changes = ["--model.objective.projector.widths=[48,48,48]", "--model.noise=none"]
    torch.manual_seed(0)
    return parser.instantiate(parser.parse_args([f"--config={path}", *changes])).model.double()


class Reference(NamedTuple):
    loss: Tensor
    gradients: dict[str, Tensor]


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    standard = (x - x.mean(axes, keepdim=True)) / (
        x.var(axes, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    return standard * weight.view(shape) + bias.view(shape)


def head(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Pooling and projector of one view: `(B, C, H, W)` to `(B, D)`."""
    expanded = torch.einsum("bchw,dc->bdhw", x, weights["pooling.conv.weight"].flatten(1))
    expanded = batch_norm(expanded, weights["pooling.norm.weight"], weights["pooling.norm.bias"])
    y = expanded.clamp(min=0).sum((2, 3)) / (x.shape[2] * x.shape[3])
    for linear, norm in ((0, 1), (3, 4)):
        y = y @ weights[f"projector.{linear}.weight"].T
        y = batch_norm(
            y, weights[f"projector.{norm}.weight"], weights[f"projector.{norm}.bias"]
        ).clamp(min=0)
    return y @ weights["projector.6.weight"].T


def barlow_twins(z1: Tensor, z2: Tensor) -> Tensor:
    ones, zeros = torch.ones(z1.shape[1], dtype=z1.dtype), torch.zeros(z1.shape[1], dtype=z1.dtype)
    c = batch_norm(z1, ones, zeros).T @ batch_norm(z2, ones, zeros) / len(z1)
    diagonal = torch.eye(len(c), dtype=torch.bool)
    return SCALE * (((c[diagonal] - 1) ** 2).sum() + LAMBDA * (c[~diagonal] ** 2).sum())


def published_steps(network: BlockwiseModule, views: list[Tensor]) -> list[Reference]:
    """Loss and gradients of every block, by the names of torchvision's ResNet-50 and of the
    head."""
    resnet = torchvision.models.resnet50().double().train()
    resnet.fc = nn.Identity()
    resnet.load_state_dict(network.backbone_state_dict(), strict=True)
    stages = [nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1)]
    stages += [resnet.layer2, resnet.layer3, resnet.layer4]
    names = {parameter: name for name, parameter in resnet.named_parameters()}
    references = []
    for stage, block in zip(stages, network.walked, strict=True):
        weights = {
            n: p.detach().clone().requires_grad_() for n, p in block.objective.named_parameters()
        }
        features = [stage(view) for view in views]
        loss = barlow_twins(*(head(x, weights) for x in features))
        own = list(stage.parameters())
        gradients = torch.autograd.grad(loss, [*own, *weights.values()])
        references.append(
            Reference(loss, dict(zip([*(names[p] for p in own), *weights], gradients, strict=True)))
        )
        views = [x.detach() for x in features]
    return references


def test_every_blocks_loss_and_gradient_equal_the_formulas(network: BlockwiseModule) -> None:
    network = copy.deepcopy(network)
    with torch.no_grad():  # fresh weights have zeros that would hide most gradients
        for norm in network.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(-0.5, 0.5)
    batch = small_batch(size=4, pixels=64, dtype=torch.float64)
    references = published_steps(network, batch.views)
    assert len(references) == len(STAGES)
    carried = Carried(batch.views)
    for block, reference in zip(network.walked, references, strict=True):
        loss, _, carried = block.local_step(carried, batch, Clock(0))
        loss.backward()
        torch.testing.assert_close(loss, reference.loss, rtol=1e-9, atol=0)
        found = {name: p.grad for name, p in block.objective.named_parameters()}
        for stage in block.stages:
            found |= {backbone_name(name): p.grad for name, p in stage.named_parameters()}
        assert found.keys() == reference.gradients.keys()
        for name, expected in reference.gradients.items():
            error = float((found[name] - expected).norm() / expected.norm())
            assert error < 1e-9, f"{block.name} {name}: {error}"


def test_the_last_norm_of_every_residual_branch_starts_at_zero(network: BlockwiseModule) -> None:
    state = network.backbone_state_dict()
    last = [name for name in state if name.endswith("bn3.weight")]
    assert len(last) == 3 + 4 + 6 + 3
    assert not any(state[name].any() for name in last)


def published_lr(step: int) -> float:
    warmup, total = WARMUP_EPOCHS * STEPS_PER_EPOCH, EPOCHS * STEPS_PER_EPOCH
    if step < warmup:
        return PEAK_LR * step / warmup
    q = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
    return PEAK_LR * q + 0.001 * PEAK_LR * (1 - q)


@pytest.mark.parametrize(
    ("step", "about"), [(0, 0), (3125, 0.8), (6250, 1.6), (96_875, 0.8008), (187_499, 0.0016)]
)
def test_the_learning_rate_at_a_step_is_the_formulas(
    network: BlockwiseModule, step: int, about: float
) -> None:
    optimizer = network.rule.build_optimizer(network.walked[0].parameters(), batch_size=2048)
    lr = network.rule.set_lr(optimizer, step, STEPS_PER_EPOCH, EPOCHS * STEPS_PER_EPOCH)
    assert lr == pytest.approx(published_lr(step), rel=1e-12)
    assert lr == pytest.approx(about, rel=1e-3)
    assert {group["lr"] for group in optimizer.param_groups} == {lr}


def test_two_lars_updates_equal_the_plain_loop(network: BlockwiseModule) -> None:
    block = copy.deepcopy(network.walked[0])
    optimizer = network.rule.build_optimizer(block.parameters(), batch_size=2048)
    expected = {name: p.detach().clone() for name, p in block.named_parameters()}
    momenta = {name: torch.zeros_like(p) for name, p in expected.items()}
    for step in (1, 2):
        lr = published_lr(step)
        for name, p in block.named_parameters():
            p.grad = torch.randn_like(p)
            update = p.grad.clone()
            if update.ndim > 1:
                update += WEIGHT_DECAY * expected[name]
                update *= ETA * expected[name].norm() / update.norm()
            momenta[name] = MOMENTUM * momenta[name] + update
            expected[name] -= lr * momenta[name]
        network.rule.set_lr(optimizer, step, STEPS_PER_EPOCH, EPOCHS * STEPS_PER_EPOCH)
        network.rule.apply(optimizer)
    for name, p in block.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name], rtol=1e-12, atol=1e-15)
