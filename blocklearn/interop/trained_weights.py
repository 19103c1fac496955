"""What is kept of a trained network, read from its file: the backbone, the pooling heads and
context networks, never the projectors."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from safetensors import safe_open
from timm import create_model
from torch import Tensor

from blocklearn.blocks.without_objectives import bare_network
from blocklearn.errors import UserError
from blocklearn.weights.checkpoint import (
    EXPORTED,
    STRUCTURE,
    as_large_as,
    is_checkpoint,
    load_weights,
    read_weights,
)
from blocklearn.weights.external import KEPT_PARTS, load_backbone, sort_published
from blocklearn.weights.structure import check_structure

# Names and weights are the same in timm and torchvision.
TORCHVISION_RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
HARMLESS = {"zero_init_last"}  # arguments of timm's ResNet that only say how it is initialised


class TrainedWeights(NamedTuple):
    """What is kept of a trained network.

    Attributes:
        structure: `BlockwiseModule.structure`: backbone, its arguments, the grouping into blocks;
            an empty grouping where the file does not say how it was trained.
        backbone: tensors under timm's names, without classifier.
        heads: tensors of the pooling heads, by the stage they sit on; those of a context network
            begin with `context.`.
    """

    structure: dict[str, Any]
    backbone: dict[str, Tensor]
    heads: dict[str, dict[str, Tensor]]


def read_trained(path: str | Path, backbone: str | None = None) -> TrainedWeights:
    """Read a checkpoint of `blocklearn fit`, or a published file of weights. No objective is built,
    and the tensors of the file's own objectives stay on disk.

    Args:
        path: the file, or a folder that `blocklearn export` wrote.
        backbone: timm name of a published file's backbone; null to recognise a ResNet that
            torchvision has.

    Raises:
        UserError: where the file cannot be read, or its backbone is another one or not recognised.
    """
    content = read_weights(path)
    if not is_checkpoint(content):
        published = sort_published(content, path)
        structure = None if backbone else read_structure(path)
        name = backbone or (
            structure["backbone"] if structure else _recognise(published.backbone, path)
        )
        structure = structure or {"backbone": name, "backbone_kwargs": {}, "blocks": []}
        structure = check_structure(structure, path)
        told = read_structure(path) is not None and not backbone
        weights = Path(path) / EXPORTED if Path(path).is_dir() else path
        with as_large_as(content, weights) if told else nullcontext():
            own = bare_network(
                {**structure, "blocks": structure["blocks"] or "per_stage"}
            ).backbone_state_dict()
        load_backbone(published.backbone, own, path)
        return TrainedWeights(structure, own, published.heads)
    with as_large_as(content, path):
        network = bare_network(content[STRUCTURE])
    saved: dict[str, Tensor] = content["state_dict"]
    load_weights(
        network, {name: saved[name] for name in network.state_dict() if name in saved}, path
    )
    heads: dict[str, dict[str, Tensor]] = {}
    for index, block in enumerate(network.walked):
        for part, renamed in KEPT_PARTS.items():
            prefix = f"blocks.{index}.objective.{part}."
            head = {
                renamed + n.removeprefix(prefix): tensor
                for n, tensor in saved.items()
                if n.startswith(prefix)
            }
            if head:
                heads[block.published_at(heads)] = head
    return TrainedWeights(network.structure, network.backbone_state_dict(), heads)


def read_structure(path: str | Path) -> dict[str, Any] | None:
    """What `save_tensors` wrote of the network into a safetensors file, or into those of a folder;
    None where there is no such entry. Nothing in it is trusted but as plain data."""
    path = Path(path) / EXPORTED if (Path(path) / EXPORTED).is_file() else Path(path)
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
    keys = ("backbone_kwargs", "blocks", "small_stem")
    if not {"backbone", *keys} <= about.keys():
        return None
    try:
        structure = {"backbone": about["backbone"], **{key: json.loads(about[key]) for key in keys}}
        structure["patches"] = json.loads(
            about.get("patches", "null")
        )  # none in files of blocklearn 0.1
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"checkpoint: the metadata of {path} is damaged: {str(error).splitlines()[0]}"
        ) from error
    return check_structure(structure, path)


def torchvision_twin(structure: Mapping[str, Any]) -> str | None:
    """The name of torchvision's model with the same weights and the same outputs; None where it has
    none."""
    name = structure["backbone"].split(".")[0]
    same = set(structure["backbone_kwargs"]) <= HARMLESS
    return (
        name if same and name in TORCHVISION_RESNETS and hasattr(torchvision.models, name) else None
    )


def _recognise(tensors: dict[str, Tensor], path: str | Path) -> str:
    """Name of the ResNet whose tensors have these names and shapes."""
    shapes = {name: tensor.shape for name, tensor in tensors.items() if not name.startswith("fc.")}
    for name in TORCHVISION_RESNETS:
        with torch.device("meta"):
            candidate = create_model(name, num_classes=0)
        if {key: tensor.shape for key, tensor in candidate.state_dict().items()} == shapes:
            return name
    raise UserError(
        f"checkpoint: the backbone in {path} is none of {', '.join(TORCHVISION_RESNETS)}; name it "
        "with --backbone"
    )
