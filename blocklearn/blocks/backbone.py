"""Make a timm backbone."""

from collections.abc import Sequence
from difflib import get_close_matches

import timm
from torch import nn

from blocklearn.blocks.families import FAMILIES, Family, named, stride_of
from blocklearn.blocks.structure import require_plain_arguments
from blocklearn.errors import UserError


def create_backbone(name: str, pretrained: bool = False, small_stem: bool = False, **kwargs: object) -> nn.Module:
    """A timm backbone without classifier.

    Args:
        name: a timm model name, e.g. `resnet50`.
        pretrained: load timm's published weights (needs the network).
        small_stem: keep the size of small images: stem convolution 3x3 with stride 1, no max-pool (arXiv 2002.05709, B.9).
        kwargs: passed to `timm.create_model`, e.g. `layers` and `channels` for a smaller ResNet.

    Raises:
        UserError: for a name that timm does not know, with the nearest that it does; for arguments that it refuses; for a
            small stem where the family has none.
    """
    if not timm.is_model(name.split(".")[0]):
        near = get_close_matches(name, timm.list_models(), n=3)
        raise UserError(
            f"backbone: timm has no model {name!r}." + (f" Did you mean {' or '.join(near)}?" if near else "")
        )
    require_plain_arguments(kwargs)
    try:
        backbone = timm.create_model(name, pretrained=pretrained, num_classes=0, **kwargs)  # pyright: ignore[reportArgumentType]
    except UserError:
        raise
    except (TypeError, RuntimeError, ValueError, IndexError, AttributeError, AssertionError, ArithmeticError) as error:
        raise UserError(
            f"backbone: timm cannot build {name!r} with {kwargs}: {error}; they are set by --model.backbone_kwargs "
            "('{}' for none)"
        ) from error
    if small_stem:
        shrink_stem(backbone)
    return backbone


def shrink_stem(backbone: nn.Module) -> None:
    """Give the stem stride 1: its first convolution becomes 3x3, no stride is left in it, and max-pools go.

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
        size = 1 if type(backbone).__name__ == "ConvNeXt" else 2  # timm's ConvNeXt makes up for 2 in its next stage
        hint = (
            f"; make its patches smaller instead: --model.backbone_kwargs '{{patch_size: {size}}}'" if patches else ""
        )
        raise UserError(f"small_stem: the stem of a {type(backbone).__name__} cannot be changed{hint}")
    return family.stem


def _without_stride(conv: nn.Conv2d) -> nn.Conv2d:
    return nn.Conv2d(
        conv.in_channels, conv.out_channels, 3, stride=1, padding=1, groups=conv.groups, bias=conv.bias is not None
    )
