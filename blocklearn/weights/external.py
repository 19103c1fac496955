"""Weights that other programs published: which tensors are the backbone, which the heads, and how
they are loaded."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blocklearn.errors import UserError
from blocklearn.weights.checkpoint import check_fit, other_shapes

WRAPPERS = ("state_dict", "model")
PREFIXES = ("module.", "backbone.")
BEHIND_FEATURES = {
    "fc",
    "head",
    "head_dist",
    "classifier",
    "pre_logits",
    "conv_head",
    "norm_head",
    "fc_norm",
}
AUTHORS_HEAD = re.compile(r"pool_conv_block_(\d+)\.([01])\.(\w+)$")
OWN_HEAD = re.compile(r"([^/]+)/(.+)$")
AUTHORS_PARTS = {"0": "conv", "1": "norm"}
OLD_KINDS = {"pooling": "head", "context": "context"}  # of parts of objectives, before 0.2

_log = logging.getLogger(__name__)


def file_name(kind: str, tensor: str) -> str:
    """How a tensor of a published feature is called in a file, behind `STAGE/`."""
    return tensor if kind == "head" else f"{kind}.{tensor}"


class PublishedWeights(NamedTuple):
    """What a file of weights holds.

    Attributes:
        backbone: tensors under timm's names, a classifier's among them where the file has one.
        heads: tensors of the pooling heads, by the stage they sit on: `{"layer1": {"conv.weight":
            ...}}`.
    """

    backbone: dict[str, Tensor]
    heads: dict[str, dict[str, Tensor]]


def sort_published(content: Mapping[str, Any], path: str | Path) -> PublishedWeights:
    """Tell backbone and heads apart in the content of a file that `blocklearn fit` did not write.

    Known are the file of arXiv 2302.01647's authors (a torchvision ResNet-50 whose
    `pool_conv_block_K.0` and `.1` are convolution and BatchNorm of the head on `layerK`), plain
    states of timm or torchvision models (such as facebookresearch's Barlow Twins), both also inside
    `{"model": ...}` or `{"state_dict": ...}` and under the prefixes `module.` and `backbone.`
    (projectors beside a `backbone.` are left out), and what `blocklearn export` writes.

    Raises:
        UserError: where there is no tensor in it.
    """
    tensors = {name: value for name, value in _unwrap(content).items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in tensors):
            kept = {n: t for n, t in tensors.items() if n.startswith((prefix, "pool_conv_block_"))}
            tensors = {name.removeprefix(prefix): tensor for name, tensor in kept.items()}
    backbone: dict[str, Tensor] = {}
    heads: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if found := AUTHORS_HEAD.match(name):
            heads.setdefault(f"layer{found[1]}", {})[f"{AUTHORS_PARTS[found[2]]}.{found[3]}"] = (
                tensor
            )
        elif found := OWN_HEAD.match(name):
            heads.setdefault(found[1], {})[found[2]] = tensor
        else:
            backbone[name] = tensor
    if not backbone:
        raise UserError(
            f"checkpoint: {path} was not written by blocklearn fit, and holds no weights of a "
            "backbone"
        )
    return PublishedWeights(backbone, heads)


@torch.no_grad()
def load_published(
    weights: PublishedWeights,
    backbone: Mapping[str, Tensor],
    heads: Mapping[str, Mapping[str, Tensor]],
    path: str | Path,
) -> None:
    """Copy published weights into a network: the backbone strictly (a classifier is left out), and
    those heads that both sides have and whose shapes are the same. A line in the log names the
    heads that keep their initial weights.

    Args:
        weights: what the file holds.
        backbone: the network's own tensors under timm's names, written to.
        heads: the network's own, by the stage they sit on.
        path: of the file, for messages.

    Raises:
        UserError: naming what of the backbone does not fit.
    """
    load_backbone(weights.backbone, backbone, path)
    left: list[str] = []
    for stage, own in heads.items():
        theirs = weights.heads.get(stage)
        if theirs is None:
            left.append(f"{stage} (not in the file)")
        elif differing := other_shapes(own, theirs) or sorted(own.keys() ^ theirs.keys()):
            left.append(f"{stage} ({differing[0]})")
        else:
            for name, tensor in own.items():
                tensor.copy_(theirs[name])
    if left:
        _log.warning(
            "checkpoint: %s: these heads keep their initial weights: %s", path, ", ".join(left)
        )


@torch.no_grad()
def load_backbone(
    theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str | Path
) -> None:
    """Copy a backbone's weights, strictly, but for a classifier, and what else lies behind the
    features.

    Args:
        theirs: tensors under timm's names.
        own: the network's own tensors under timm's names, written to.
        path: where `theirs` come from, for messages.

    Raises:
        UserError: naming what does not fit.
    """
    theirs = {
        name: tensor
        for name, tensor in theirs.items()
        if name in own or name.split(".")[0] not in BEHIND_FEATURES
    }
    problem, advice = (
        f"checkpoint: the backbone in {path} is another one",
        "Name the right one with --model.backbone",
    )
    check_fit(own, theirs, problem, advice)
    for name, tensor in own.items():
        tensor.copy_(theirs[name])


def _unwrap(content: Mapping[str, Any]) -> Mapping[str, Any]:
    for wrapper in WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping):
            return _unwrap(inner)
    return content
