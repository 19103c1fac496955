"""What a file of weights says of the network it belongs to: checked before anything is built from
it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from blocklearn.backbones.arguments import require_plain
from blocklearn.errors import UserError


def check_structure(structure: Any, path: object) -> dict[str, Any]:
    """A structure entry of a checkpoint or an exported file, of which nothing is believed.

    Args:
        structure: what the file says: `backbone`, `backbone_kwargs`, `small_stem`, `patches`,
            `blocks`.
        path: of the file, for messages.

    Raises:
        UserError: for an entry of another type, too large, or that names files.
    """
    if not isinstance(structure, Mapping):
        raise UserError(
            f"checkpoint: {path}: the entry that says what network it holds is a "
            f"{type(structure).__name__}"
        )
    kinds = {
        "backbone": (str,),
        "backbone_kwargs": (dict,),
        "small_stem": (bool,),
        "patches": (dict, type(None)),
        "blocks": (list,),
    }
    known = {name: structure[name] for name in kinds if name in structure}
    for name in ("backbone", "blocks"):
        if name not in known:
            raise UserError(
                f"checkpoint: {path}: the entry that says what network it holds lacks {name}"
            )
    for name, value in known.items():
        if not isinstance(value, kinds[name]):
            raise UserError(
                f"checkpoint: {path}: its {name} is a {type(value).__name__}, which it cannot be"
            )
    patches = known.get("patches")
    if patches and (
        set(patches) != {"size", "stride", "grid"}
        or not all(type(n) is int for n in patches.values())
    ):
        raise UserError(
            f"checkpoint: {path}: its patches are not size, stride and grid, each a whole number"
        )
    blocks = known["blocks"]
    if not all(
        isinstance(block, list) and all(isinstance(stage, str) for stage in block)
        for block in blocks
    ):
        raise UserError(f"checkpoint: {path}: its blocks are no lists of names of stages")
    require_plain(known, f"checkpoint: {path}")
    return known


@contextmanager
def no_larger_than(tensors: int, values: int, path: object) -> Iterator[None]:
    """Inside, networks are built up to a size: the first parameter beyond it is refused before its
    memory is touched. What a file asks for cannot be larger than what it holds.

    Args:
        tensors: parameters at most.
        values: numbers in all parameters at most.
        path: of the file, for messages.

    Raises:
        UserError: beyond.
    """
    left = [tensors, values]

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            left[0] -= 1
            left[1] -= parameter.numel()
        if min(left) < 0:
            raise UserError(
                f"checkpoint: {path} asks for a network far larger than the weights it holds; it "
                "is damaged, or the configuration is another's"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
