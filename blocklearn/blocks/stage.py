"""Cut a timm backbone into stages, and group the stages into blocks."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import timm
from timm.models.resnet import ResNet
from torch import nn

from blocklearn.errors import UserError

Layout = Literal["NCHW", "NHWC", "NLC"]
Grouping = Literal["per_stage", "end_to_end"] | list[list[str]]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What a stage hands on.

    Attributes:
        name: the timm name of its last module, e.g. `layer1`.
        channels: number of channels.
        stride: pixels of the input image per position, e.g. 4.
        layout: order of the axes; `NCHW` is `(batch, channels, height, width)`.
    """

    name: str
    channels: int
    stride: int
    layout: Layout = "NCHW"


class Stage(nn.Sequential):
    """A run of consecutive modules of a backbone. Its parameters keep the backbone's own names."""

    def __init__(self, spec: StageSpec, modules: "OrderedDict[str, nn.Module]") -> None:
        super().__init__(modules)
        self.spec = spec


def create_backbone(name: str, pretrained: bool = False, **kwargs: object) -> nn.Module:
    """A timm backbone without classifier.

    Args:
        name: a timm model name, e.g. `resnet50`.
        pretrained: load timm's published weights (needs the network).
        kwargs: passed to `timm.create_model`, e.g. `layers` and `channels` for a smaller ResNet.

    Raises:
        UserError: for a name that timm does not know; it lists the nearest that it does.
    """
    if not timm.is_model(name.split(".")[0]):
        raise UserError(f"backbone: timm has no model {name!r}.{_nearest(name, timm.list_models())}")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **kwargs)  # pyright: ignore[reportArgumentType]
    except (TypeError, RuntimeError) as error:
        raise UserError(f"backbone: timm cannot build {name!r} with {kwargs}: {error}") from error


def cut_backbone(backbone: nn.Module) -> list[Stage]:
    """Cut a backbone into stages, the stem in the first one. The modules are moved, not copied, and no image is pushed
    through: widths and strides are the backbone's own `feature_info`.

    Composed, the stages equal the backbone's `forward_features`.

    Raises:
        UserError: for a backbone of a family that cannot be cut.
    """
    if not isinstance(backbone, ResNet):
        raise UserError(
            f"backbone: {type(backbone).__name__} cannot be cut into stages yet; the ResNet family can: "
            "resnet18, resnet50, resnext50_32x4d, wide_resnet50_2, seresnet50 and the others of timm.models.resnet"
        )
    info = {entry["module"]: entry for entry in backbone.feature_info}  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
    stages: list[Stage] = []
    pending: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in backbone.named_children():
        pending[name] = module
        if name in info and name.startswith("layer"):
            spec = StageSpec(name, channels=int(info[name]["num_chs"]), stride=int(info[name]["reduction"]))
            stages.append(Stage(spec, pending))
            pending = OrderedDict()
    return stages


def group_stages(names: Sequence[str], blocks: Grouping) -> list[list[int]]:
    """Positions of the stages of each block.

    Args:
        names: the backbone's stage names in order.
        blocks: `per_stage` (one block a stage), `end_to_end` (one block of all), or stage names block by block, e.g.
            `[[layer1], [layer2], [layer3, layer4]]`.

    Raises:
        UserError: unless every stage is in exactly one block, in the backbone's order.
    """
    if blocks == "per_stage":
        return [[position] for position in range(len(names))]
    if blocks == "end_to_end":
        return [list(range(len(names)))]
    listed = [name for block in blocks for name in block]
    known = f"the backbone's stages are {', '.join(names)}"
    for name in listed:
        if name not in names:
            raise UserError(f"blocks: the backbone has no stage {name!r}; {known}")
    if listed != list(names) or not all(blocks):
        raise UserError(
            f"blocks: every stage must be in one block, in order, and no block empty; got {blocks}, {known}"
        )
    return [[names.index(name) for name in block] for block in blocks]


def _nearest(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    matches = get_close_matches(name, known, n=3)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""
