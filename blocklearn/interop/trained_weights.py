"""What is kept of a trained network, read from its file: the backbone, the pooling heads and
context networks, never the projectors."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from safetensors import safe_open
from timm import create_model
from torch import Tensor

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.blocks.without_objectives import bare_network
from blocklearn.errors import UserError
from blocklearn.weights.checkpoint import (
    PUBLISHED,
    STRUCTURE,
    as_large_as,
    is_checkpoint,
    load_weights,
    read_weights,
)
from blocklearn.weights.external import OLD_KINDS, file_name, load_backbone, sort_published
from blocklearn.weights.file_names import EXPORTED
from blocklearn.weights.structure import NetworkStructure

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

    structure: NetworkStructure
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
        told = None if backbone else read_structure(path)
        name = backbone or (told.backbone if told else _recognise(published.backbone, path))
        structure = told or NetworkStructure(name)
        weights = Path(path) / EXPORTED if Path(path).is_dir() else path
        with as_large_as(content, weights) if told else nullcontext():
            own = bare_network(structure).backbone_state_dict()
        load_backbone(published.backbone, own, path)
        return TrainedWeights(structure, own, published.heads)
    with as_large_as(content, path):
        network = bare_network(content[STRUCTURE])
    saved: dict[str, Tensor] = content["state_dict"]
    own = {name: saved[name] for name in network.state_dict() if name in saved}
    load_weights(network, own, path)
    heads: dict[str, dict[str, Tensor]] = {}
    for place in content.get(PUBLISHED) or _places_before(network):
        for name, tensor in saved.items():
            if name.startswith(place["prefix"]):
                inner = file_name(place["kind"], name.removeprefix(place["prefix"]))
                heads.setdefault(place["stage"], {})[inner] = tensor
    return TrainedWeights(network.structure, network.backbone_state_dict(), heads)


def _places_before(network: BlockwiseModule) -> Iterator[dict[str, str]]:
    """Where a checkpoint of blocklearn 0.1 holds what objectives publish."""
    taken: list[str] = []
    for block in network.walked:
        stage = block.published_at(taken)
        taken.append(stage)
        for part, kind in OLD_KINDS.items():
            prefix = f"blocks.{block.index}.objective.{part}."
            yield {"stage": stage, "kind": kind, "prefix": prefix}


def read_structure(path: str | Path) -> NetworkStructure | None:
    """What `save_tensors` wrote of the network into a safetensors file, or into those of a folder;
    None where there is no such entry. Nothing in it is trusted but as plain data."""
    path = Path(path) / EXPORTED if (Path(path) / EXPORTED).is_file() else Path(path)
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        return NetworkStructure.of_metadata(file.metadata() or {}, path)


def torchvision_twin(structure: NetworkStructure) -> str | None:
    """The name of torchvision's model with the same weights and the same outputs; None where it has
    none."""
    name = structure.backbone.split(".")[0]
    same = set(structure.backbone_kwargs) <= HARMLESS
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
