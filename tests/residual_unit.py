"""A residual unit of ResNet-18 in plain PyTorch, for references."""

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d


def normed(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return batch_norm(x, None, None, weight, bias, training=True)


def basic_unit(x: Tensor, weights: dict[str, Tensor], stride: int) -> Tensor:
    """A residual unit of ResNet-18, written out."""
    y = conv2d(x, weights["conv1.weight"], stride=stride, padding=1)
    y = conv2d(normed(y, weights, "bn1").relu(), weights["conv2.weight"], padding=1)
    shortcut = x
    if "downsample.0.weight" in weights:
        shortcut = conv2d(x, weights["downsample.0.weight"], stride=stride)
        shortcut = normed(shortcut, weights, "downsample.1")
    return (normed(y, weights, "bn2") + shortcut).relu()


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters())


def randomise(module: nn.Module) -> None:
    """Also what timm begins with zeros, and gradients behind it."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
