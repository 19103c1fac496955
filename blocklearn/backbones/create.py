"""Make a timm backbone."""

import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import timm
from torch import nn

from blocklearn.backbones.arguments import require_plain_arguments
from blocklearn.backbones.families import FAMILIES, Family, named, stride_of
from blocklearn.errors import UserError

ONE_A_STAGE = ("layers", "channels", "depths", "dims")
COUNTS = (*ONE_A_STAGE, "depth", "embed_dim", "num_heads", "in_chans", "img_size", "patch_size")


def create_backbone(
    name: str, pretrained: bool = False, small_stem: bool = False, **kwargs: object
) -> nn.Module:
    """A timm backbone without classifier.

    Args:
        name: a timm model name, e.g. `resnet50`.
        pretrained: load timm's published weights (needs the network).
        small_stem: keep the size of small images: stem convolution 3x3 with stride 1, no max-pool
            (arXiv 2002.05709, B.9).
        kwargs: passed to `timm.create_model`, e.g. `layers` and `channels` for a smaller ResNet.

    Raises:
        UserError: for a name that timm does not know, with the nearest that it does; for arguments
            that it refuses; for a small stem where the family has none.
    """
    if not timm.is_model(name.split(".")[0]):
        near = get_close_matches(name, timm.list_models(), n=3)
        raise UserError(
            f"backbone: timm has no model {name!r}."
            + (f" Did you mean {' or '.join(near)}?" if near else "")
        )
    require_plain_arguments(kwargs)
    _require_meant(kwargs)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Initializing zero-element tensors")
            backbone = timm.create_model(name, pretrained=pretrained, num_classes=0, **kwargs)  # pyright: ignore[reportArgumentType]
    except UserError:
        raise
    except (
        Exception
    ) as error:  # whatever timm's many constructors make of an argument that they did not expect
        told = " ".join(str(error).split()) or f"an unexplained {type(error).__name__}"
        raise UserError(
            f"backbone: timm cannot build {name!r} with {kwargs}: {told}; they are set by "
            "--model.network.backbone_kwargs "
            "('{}' for none)"
        ) from error
    _require_one_a_stage(backbone, kwargs)
    if small_stem:
        shrink_stem(backbone)
    return backbone


def _require_meant(arguments: Mapping[str, Any]) -> None:
    """What timm takes without a word, or fails at in words that say nothing."""
    for key, value in arguments.items():
        numbers = _flat(value)
        if (
            key in COUNTS
            and value is not None
            and not all(type(n) is int and n >= 1 for n in numbers)
        ):
            raise UserError(
                f"backbone: {key} of --model.network.backbone_kwargs is made of numbers from 1 on, "
                f"got {value}"
            )
        if (
            "drop" in key
            and key.endswith("_rate")
            and not all(n is None or _is_share(n) for n in numbers)
        ):
            raise UserError(
                f"backbone: {key} of --model.network.backbone_kwargs is at least 0 and below 1, "
                f"got {value}"
            )


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 1


def _flat(value: object) -> list[object]:
    return (
        [inner for item in value for inner in _flat(item)]
        if isinstance(value, (list, tuple))
        else [value]
    )


def _require_one_a_stage(backbone: nn.Module, arguments: Mapping[str, Any]) -> None:
    """timm goes on with the shortest list."""
    lists = {
        key: value
        for key, value in arguments.items()
        if key in ONE_A_STAGE and isinstance(value, (list, tuple))
    }
    family = next((family for kind, family in FAMILIES.items() if isinstance(backbone, kind)), None)
    stages = len(family.stages) if family and len(family.stages) > 1 else None
    for key, value in lists.items():
        count = stages or len(next(iter(lists.values())))
        if len(value) != count:
            raise UserError(
                f"backbone: {key} of --model.network.backbone_kwargs has {len(value)} entries for "
                f"{count} stages, got {value}; give one per stage"
            )


def shrink_stem(backbone: nn.Module) -> None:
    """Give the stem stride 1: its first convolution becomes 3x3, no stride is left in it, and
    max-pools go.

    Raises:
        UserError: for a family whose stem is no convolution of stride 2.
    """
    stem = _stem_names(backbone)
    before = stride_of(named(backbone, stem))
    for name in stem:
        if isinstance(backbone.get_submodule(name), nn.MaxPool2d):
            backbone.set_submodule(name, nn.Identity())
            continue
        for inner, module in list(backbone.get_submodule(name).named_modules()):
            if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
                backbone.set_submodule(f"{name}.{inner}".rstrip("."), _without_stride(module))
    shrunk = before // stride_of(named(backbone, stem))
    for entry in backbone.feature_info:  # pyright: ignore
        entry["reduction"] = max(entry["reduction"] // shrunk, 1)


def _stem_names(backbone: nn.Module) -> Sequence[str]:
    family = next((family for kind, family in FAMILIES.items() if isinstance(backbone, kind)), None)
    patches = hasattr(backbone, "patch_embed") or type(backbone).__name__ == "ConvNeXt"
    if family is None or patches or not (type(family) is Family or family.stem):
        # timm's ConvNeXt makes up for 2 in its next stage
        size = 1 if type(backbone).__name__ == "ConvNeXt" else 2
        hint = (
            "; make its patches smaller instead: --model.network.backbone_kwargs "
            f"'{{patch_size: {size}}}'"
            if patches
            else ""
        )
        raise UserError(
            f"small_stem: the stem of a {type(backbone).__name__} cannot be changed{hint}"
        )
    return family.stem


def _without_stride(conv: nn.Conv2d) -> nn.Conv2d:
    return nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        3,
        stride=1,
        padding=1,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
