"""What network a file of weights holds: the only list of the entries that say so."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from blocklearn.backbones.arguments import require_plain
from blocklearn.errors import UserError

KINDS: dict[str, tuple[type, ...]] = {
    "backbone": (str,),
    "backbone_kwargs": (dict,),
    "small_stem": (bool,),
    "patches": (dict, type(None)),
    "blocks": (list,),
}


@dataclass(frozen=True)
class NetworkStructure:
    """A network without its weights.

    Attributes:
        backbone: timm's name.
        blocks: names of the stages that each block trains; none where it is not known how the
            network was trained.
        backbone_kwargs: what it was built with.
        small_stem: whether its stem keeps the size of small images.
        patches: size, stride and grid of the patches into which images are cut; None for whole
            images.
    """

    backbone: str
    blocks: Sequence[Sequence[str]] = ()
    backbone_kwargs: dict[str, Any] = field(default_factory=dict)
    small_stem: bool = False
    patches: dict[str, int] | None = None

    def as_plain(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return {**asdict(self), "blocks": [list(block) for block in self.blocks]}

    def as_metadata(self) -> dict[str, str]:
        """As a safetensors file holds it."""
        plain = self.as_plain()
        return {
            name: plain[name] if name == "backbone" else json.dumps(plain[name]) for name in KINDS
        }

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str], path: object) -> Self | None:
        """What `as_metadata` wrote; None where there is nothing of it.

        Raises:
            UserError: where it is damaged.
        """
        if not {"backbone", "backbone_kwargs", "blocks", "small_stem"} <= metadata.keys():
            return None
        try:
            read = {
                name: metadata[name] if name == "backbone" else json.loads(metadata[name])
                for name in KINDS
                if name in metadata
            }
        except (ValueError, RecursionError) as error:
            told = str(error).splitlines()[0]
            raise UserError(f"checkpoint: the metadata of {path} is damaged: {told}") from error
        return cls.checked(read, path)

    @classmethod
    def checked(cls, structure: Any, path: object) -> Self:
        """From a file's plain data, of which nothing is believed.

        Raises:
            UserError: for an entry of another type, too large, or that names files.
        """
        if not isinstance(structure, Mapping):
            raise UserError(
                f"checkpoint: {path}: the entry that says what network it holds is a "
                f"{type(structure).__name__}"
            )
        known = {name: structure[name] for name in KINDS if name in structure}
        for name in ("backbone", "blocks"):
            if name not in known:
                raise UserError(
                    f"checkpoint: {path}: the entry that says what network it holds lacks {name}"
                )
        for name, value in known.items():
            if not isinstance(value, KINDS[name]):
                raise UserError(
                    f"checkpoint: {path}: its {name} is a {type(value).__name__}, which it "
                    "cannot be"
                )
        patches = known.get("patches")
        if patches and (
            set(patches) != {"size", "stride", "grid"}
            or not all(type(n) is int for n in patches.values())
        ):
            raise UserError(
                f"checkpoint: {path}: its patches are not size, stride and grid, each a whole "
                "number"
            )
        if not all(
            isinstance(block, list) and all(isinstance(stage, str) for stage in block)
            for block in known["blocks"]
        ):
            raise UserError(f"checkpoint: {path}: its blocks are no lists of names of stages")
        require_plain(known, f"checkpoint: {path}")
        return cls(**known)

    def differences(self, other: Self) -> list[str]:
        """One phrase for every entry in which another network differs."""
        return [
            f"{entry.name} {theirs}, this configuration says {own}"
            for entry in fields(self)
            if (own := self.as_plain()[entry.name]) != (theirs := other.as_plain()[entry.name])
        ]


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
