"""Make an exported folder one that timm loads by itself:
`timm.create_model("local-dir:FOLDER", pretrained=True)`."""

from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from blocklearn.backbones.create import create_backbone
from blocklearn.data.images.image_spec import ImageSpec
from blocklearn.interop.trained_weights import TrainedWeights
from blocklearn.weights.atomic_write import replacing
from blocklearn.weights.structure import NetworkStructure

CONFIG = "config.json"


def fits_timm(structure: NetworkStructure, names: Collection[str]) -> bool:
    """Whether timm can build the backbone from its arguments alone, with these tensors and no
    others: not with a stem that was changed, not an encoder for sound, and not where the family has
    weights behind `forward_features` (VGG, MobileNetV3; of ConvNeXt see `completed`)."""
    if structure.small_stem:
        return False
    made = on_meta(structure)
    known = hasattr(made, "pretrained_cfg")  # as all of timm's have
    return known and made.state_dict().keys() == set(names)


def completed(structure: NetworkStructure, backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone with the initial ones and zeros of a LayerNorm behind `forward_features`, which
    ConvNeXt has: timm then loads the folder by itself. As it is where anything else is lacking."""
    if structure.small_stem:
        return dict(backbone)
    made = on_meta(structure)
    norms = {
        f"{name}.{part}": (torch.ones if part == "weight" else torch.zeros)(tensor.shape)
        for name, module in made.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part, tensor in module.state_dict().items()
    }
    lacking = made.state_dict().keys() - backbone.keys()
    return {**backbone, **{name: norms[name] for name in lacking if lacking <= norms.keys()}}


def on_meta(structure: NetworkStructure, small_stem: bool = False) -> nn.Module:
    """The backbone without memory for its weights."""
    with torch.device("meta"):
        return create_backbone(structure.backbone, False, small_stem, **structure.backbone_kwargs)


def write_timm_config(
    weights: TrainedWeights, folder: Path, images: ImageSpec | None = None
) -> None:
    """Write the configuration that timm reads beside `model.safetensors`, with timm's own function.

    Args:
        weights: what is exported.
        folder: where to.
        images: as the network was fed with them; None where it is not known, when timm's own
            numbers for the backbone stay.
    """
    structure = weights.structure
    model = create_backbone(structure.backbone, **structure.backbone_kwargs)
    with TemporaryDirectory() as made:
        save_for_hf(
            model,
            made,
            model_config={"pretrained_cfg": {"tag": "blocklearn", "license": None, **_fed(images)}},
            model_args=structure.backbone_kwargs,
            safe_serialization=True,
        )
        text = (Path(made) / CONFIG).read_text()
    with replacing(folder / CONFIG) as unfinished:
        unfinished.write_text(text)


def _fed(images: ImageSpec | None) -> dict[str, Any]:
    if images is None:
        return {}
    size = (len(images.mean), images.size, images.size)
    return {"input_size": size, "mean": tuple(images.mean), "std": tuple(images.std)}
