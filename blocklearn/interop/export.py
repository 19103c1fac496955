"""Hand a trained backbone to programs that do not know blocklearn."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from blocklearn import __version__
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.training.finite import require_finite
from blocklearn.weights.atomic_write import replacing
from blocklearn.weights.structure import NetworkStructure


def save_backbone(network: BlockwiseModule, path: Path) -> None:
    """The backbone alone, under timm's own names, as safetensors; the file's metadata says how to
    build it.

    It loads with `timm.create_model(name, num_classes=0, **kwargs).load_state_dict(load_file(path),
    strict=True)`; a network with `small_stem` needs its stem changed before.
    """
    save_tensors(network.backbone_state_dict(), network.structure, path)


def save_tensors(tensors: Mapping[str, Tensor], structure: NetworkStructure, path: Path) -> None:
    """Tensors as safetensors, with the network they belong to in the file's metadata.

    Args:
        tensors: by name.
        structure: `BlockwiseModule.structure`.
        path: where to write; the file is whole or as it was before.

    Raises:
        UserError: where it cannot be written, or holds values that are not finite.
    """
    metadata = {"format": "pt", "blocklearn": __version__, **structure.as_metadata()}
    require_finite(tensors, f"{path} is not written")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as unfinished:
        save_file(plain, unfinished, metadata)
