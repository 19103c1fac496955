"""Hand a trained backbone to programs that do not know blocklearn."""

import json
from pathlib import Path

from safetensors.torch import save_file

from blocklearn import __version__
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.interop.files import replacing


def save_backbone(network: BlockwiseModule, path: Path) -> None:
    """The backbone alone, under timm's own names, as safetensors; the file's metadata says how to build it.

    It loads with `timm.create_model(name, num_classes=0, **kwargs).load_state_dict(load_file(path), strict=True)`.
    """
    metadata = {
        "format": "pt",
        "backbone": str(network.structure["backbone"]),
        "backbone_kwargs": json.dumps(network.structure["backbone_kwargs"]),
        "blocks": json.dumps(network.structure["blocks"]),
        "blocklearn": __version__,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.backbone_state_dict().items()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata)
