"""How each family of backbones is put together: which modules `forward_features` runs, in order,
and where between them a cut may fall. A new family is one entry, or one class where
`forward_features` does more than run modules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from timm.models import (
    convnext,
    densenet,
    efficientnet,
    mobilenetv3,
    regnet,
    resnet,
    resnetv2,
    swin_transformer,
    swin_transformer_v2,
    vgg,
    vision_transformer,
)
from torch import nn

from blocklearn.backbones.cifar_resnet import CifarResNet
from blocklearn.backbones.layout import Layout
from blocklearn.backbones.preact_resnet import PreActResNet
from blocklearn.backbones.speech_encoder import SpeechEncoder
from blocklearn.backbones.stage import SHELL, StageSpec
from blocklearn.backbones.video_transformer import token_grid
from blocklearn.backbones.visible_tokens import VisibleTokens
from blocklearn.errors import UserError

NamedModules = list[tuple[str, nn.Module]]


class Piece(NamedTuple):
    """A module of the backbone, or a few, behind which a cut may fall.

    Attributes:
        spec: what is handed on here.
        modules: under timm's dotted names, in order.
        ends_stage: whether one of the family's stages ends here.
    """

    spec: StageSpec
    modules: NamedModules
    ends_stage: bool


@dataclass(frozen=True)
class Family:
    """Backbones whose `forward_features` runs modules one after the other: stem, stages of residual
    units, and a tail, which belongs to the last stage.

    Attributes:
        stem: names of the modules of the stem.
        stages: names of the stages, or of the one container that holds them.
        tail: names of the modules behind them.
        layout: of the features.
    """

    stem: Sequence[str]
    stages: Sequence[str]
    tail: Sequence[str] = ()
    layout: Layout = Layout.NCHW

    def pieces(self, backbone: nn.Module) -> list[Piece]:
        stem = named(backbone, self.stem)
        pieces = [
            Piece(StageSpec("stem", out_channels(stem), stride_of(stem), self.layout), stem, False)
        ]
        info = {entry["module"]: entry for entry in backbone.feature_info}  # pyright: ignore
        group: list[tuple[str, NamedModules]] = []
        for stage_name, stage in self._stages(backbone):
            group += units(stage_name, stage)
            if stage_name not in info:
                # EfficientNets: one of timm's stages that keeps the stride belongs to the one
                # behind it
                continue
            for name, modules in group:
                ends = name == group[-1][0]
                channels = (
                    info[stage_name]["num_chs"]
                    if ends
                    else self._channels(modules, info[stage_name])
                )
                spec = StageSpec(
                    stage_name if ends else name,
                    channels,
                    info[stage_name]["reduction"],
                    self.layout,
                )
                pieces.append(Piece(spec, modules, ends))
            group = []
        return with_tail(pieces, named(backbone, self.tail))

    def _stages(self, backbone: nn.Module) -> NamedModules:
        if len(self.stages) > 1:
            return named(backbone, self.stages)
        (container,) = self.stages
        return [
            (f"{container}.{name}", stage)
            for name, stage in backbone.get_submodule(container).named_children()
        ]

    def _channels(self, unit: NamedModules, info: dict[str, int]) -> int:
        return info["num_chs"]


class EfficientNetFamily(Family):
    """Within a stage the width may change, from one of timm's stages to the next."""

    def _channels(self, unit: NamedModules, info: dict[str, int]) -> int:
        return out_channels(unit)


class VGGFamily(Family):
    """Convolutions in one flat container. A stage ends with its max-pool; a cut may fall behind
    every activation."""

    def pieces(self, backbone: nn.Module) -> list[Piece]:
        (container,) = self.stages
        pieces: list[Piece] = []
        pending: NamedModules = []
        channels, stride = 3, 1
        for child, module in backbone.get_submodule(container).named_children():
            name = f"{container}.{child}"
            channels = module.out_channels if isinstance(module, nn.Conv2d) else channels
            if isinstance(module, nn.MaxPool2d):
                stride *= 2
                *pieces, before = pieces
                pieces.append(
                    Piece(
                        StageSpec(name, channels, stride), [*before.modules, (name, module)], True
                    )
                )
                continue
            pending.append((name, module))
            if isinstance(module, nn.ReLU):
                pieces.append(Piece(StageSpec(name, channels, stride), pending, False))
                pending = []
        return pieces


class DenseNetFamily(Family):
    """A dense block hands all its maps from layer to layer, so there is no cut within; the
    transition to a smaller map belongs to the block behind it."""

    def pieces(self, backbone: nn.Module) -> list[Piece]:
        stem = named(backbone, self.stem)
        pieces = [Piece(StageSpec("stem", out_channels(stem), stride_of(stem)), stem, False)]
        pending: NamedModules = []
        spec = pieces[0].spec
        for name, module in named(backbone, self.stages):
            pending.append((name, module))
            if isinstance(module, densenet.DenseBlock):
                entry = pending[:-1]  # the transition
                channels = out_channels(entry) if entry else spec.channels
                channels += sum(out_channels([(name, layer)]) for layer in module.children())
                spec = StageSpec(name, channels, spec.stride * stride_of(entry))
                pieces.append(Piece(spec, pending, True))
                pending = []
        return with_tail(pieces, named(backbone, self.tail))


class VisionTransformerFamily(Family):
    """A row of equal blocks, its four stages a quarter each. Patch embedding, class token and
    positions are the stem: what is left of the backbone itself once blocks and norm are taken
    out."""

    def pieces(self, backbone: nn.Module) -> list[Piece]:
        assert isinstance(backbone, vision_transformer.VisionTransformer)
        blocks, tail = list(backbone.blocks.named_children()), named(backbone, self.tail)
        backbone.blocks, backbone.norm = nn.Sequential(), nn.Identity()
        backbone.fc_norm, backbone.head = nn.Identity(), nn.Identity()
        backbone.forward = backbone.forward_features
        ends = {round(len(blocks) * quarter / 4) for quarter in (1, 2, 3, 4)}
        (container,) = self.stages
        stride = int(backbone.feature_info[0]["reduction"])  # pyright: ignore
        prefix, tokens = backbone.num_prefix_tokens, token_grid(backbone)

        def spec(name: str) -> StageSpec:
            return StageSpec(name, backbone.embed_dim, stride, Layout.NLC, prefix, tokens=tokens)

        stem = [(SHELL, backbone), ("visible", VisibleTokens(prefix))]
        pieces = [Piece(spec("stem"), stem, False)]
        for count, (child, block) in enumerate(blocks, start=1):
            name = f"{container}.{child}"
            pieces.append(Piece(spec(name), [(name, block)], count in ends))
        return with_tail(pieces, tail)


class SoundFamily(Family):
    """A row of convolutions over time, each a stage."""

    def pieces(self, backbone: nn.Module) -> list[Piece]:
        info: list[dict[str, Any]] = backbone.feature_info  # pyright: ignore[reportAssignmentType]
        return [
            Piece(
                StageSpec(entry["module"], entry["num_chs"], entry["reduction"], self.layout),
                named(backbone, [entry["module"]]),
                True,
            )
            for entry in info
        ]


CONV_STEM = ("conv_stem", "bn1")
DENSE_STEM = tuple(f"features.{name}0" for name in ("conv", "norm", "pool"))
DENSE_STAGES = tuple(
    f"features.{name}" for k in (1, 2, 3) for name in (f"denseblock{k}", f"transition{k}")
)

FAMILIES: dict[type[nn.Module], Family] = {
    resnet.ResNet: Family(
        ("conv1", "bn1", "act1", "maxpool"), ("layer1", "layer2", "layer3", "layer4")
    ),
    regnet.RegNet: Family(("stem",), ("s1", "s2", "s3", "s4"), ("final_conv",)),
    convnext.ConvNeXt: Family(("stem",), ("stages",), ("norm_pre",)),
    efficientnet.EfficientNet: EfficientNetFamily(CONV_STEM, ("blocks",), ("conv_head", "bn2")),
    mobilenetv3.MobileNetV3: EfficientNetFamily(CONV_STEM, ("blocks",)),
    swin_transformer.SwinTransformer: Family(("patch_embed",), ("layers",), ("norm",), Layout.NHWC),
    swin_transformer_v2.SwinTransformerV2: Family(
        ("patch_embed",), ("layers",), ("norm",), Layout.NHWC
    ),
    resnetv2.ResNetV2: Family(("stem",), ("stages",), ("norm",)),
    vgg.VGG: VGGFamily((), ("features",)),
    densenet.DenseNet: DenseNetFamily(
        DENSE_STEM, (*DENSE_STAGES, "features.denseblock4"), ("features.norm5",)
    ),
    vision_transformer.VisionTransformer: VisionTransformerFamily(
        (), ("blocks",), ("norm",), Layout.NLC
    ),
    PreActResNet: Family(("stem",), ("layer1", "layer2", "layer3")),
    CifarResNet: Family(("conv1", "bn1", "act1"), ("layer1", "layer2", "layer3")),
    SpeechEncoder: SoundFamily((), (), layout=Layout.NCL),
}
EXAMPLES = (
    "resnet50, resnet50d, resnetrs50, wide_resnet50_2, resnext50_32x4d, vgg16_bn, densenet121, "
    "efficientnet_b0, regnety_008, mobilenetv3_small_100, convnext_tiny, vit_small_patch16_224, "
    "deit_small_patch16_224, swin_tiny_patch4_window7_224, cifar_resnet110, gim_resnet50, "
    "gim_speech, video_vit_tiny"
)


def pieces_of(backbone: nn.Module) -> list[Piece]:
    """All pieces of a backbone, in order.

    Raises:
        UserError: for a backbone of another family; it names some that can be cut. For one whose
            arguments leave out parts that its family has.
    """
    for kind, family in FAMILIES.items():
        if isinstance(backbone, kind):
            try:
                pieces = family.pieces(backbone)
            except (AttributeError, IndexError, KeyError) as error:
                raise _lacks(kind, family) from error
            if not any(piece.ends_stage for piece in pieces):
                raise _lacks(kind, family)
            return pieces
    names = ", ".join(kind.__name__ for kind in FAMILIES)
    raise UserError(
        f"backbone: a {type(backbone).__name__} cannot be cut into stages; what can is {names}, "
        f"such as {EXAMPLES}"
    )


def _lacks(kind: type[nn.Module], family: Family) -> UserError:
    stages = ", ".join(family.stages)
    return UserError(
        f"backbone: this {kind.__name__} lacks parts that others "
        f"have{f' (its stages are {stages})' if stages else ''}: --model.network.backbone_kwargs "
        "must say how deep and wide each stage is, at least 1"
    )


def units(name: str, stage: nn.Module) -> list[tuple[str, NamedModules]]:
    """The residual units of a stage under timm's names; a downsampling layer before them belongs to
    the first."""
    entry = [(f"{name}.downsample", stage.downsample)] if hasattr(stage, "downsample") else []
    inner, container = (
        (f"{name}.blocks", stage.blocks) if hasattr(stage, "blocks") else (name, stage)
    )
    found = [
        (f"{inner}.{child}", [(f"{inner}.{child}", unit)])
        for child, unit in container.named_children()  # pyright: ignore[reportAttributeAccessIssue]
    ]  # pyright: ignore
    first_name, first = found[0]
    return [(first_name, [*entry, *first]), *found[1:]]  # pyright: ignore[reportReturnType]


def with_tail(pieces: list[Piece], tail: NamedModules) -> list[Piece]:
    """The tail belongs to the last piece. It may widen it: EfficientNet's last convolution."""
    spec, modules, ends = pieces[-1]
    channels = next(
        (m.out_channels for _, m in reversed(tail) if isinstance(m, nn.Conv2d)), spec.channels
    )
    return [*pieces[:-1], Piece(replace(spec, channels=channels), [*modules, *tail], ends)]


def named(backbone: nn.Module, names: Sequence[str]) -> NamedModules:
    return [(name, backbone.get_submodule(name)) for name in names]


def out_channels(modules: NamedModules) -> int:
    """Channels behind the last convolution that mixes channels (a depthwise one keeps them)."""
    convolutions = [
        m
        for _, module in modules
        for m in module.modules()
        if isinstance(m, nn.Conv2d) and m.groups == 1
    ]
    return convolutions[-1].out_channels


def stride_of(modules: NamedModules) -> int:
    """Product of the strides, for modules without branches."""
    strides = [getattr(m, "stride", 1) for _, module in modules for m in module.modules()]
    return math.prod(stride[0] if isinstance(stride, tuple) else stride for stride in strides)
