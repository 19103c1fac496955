"""The small VGG of CLAPP: six convolutions without normalisation."""

from typing import Any

from timm.models import register_model
from timm.models.vgg import VGG

from blocklearn.backbones.preact_resnet import own_arguments

WIDTHS = (128, 256, 256, 512, 1024, 1024)


@register_model
def clapp_vgg6(pretrained: bool = False, **kwargs: Any) -> VGG:
    """Six 3x3 convolutions, each with a ReLU, in timm's `VGG`; the maps shrink behind the second,
    the fourth, fifth and sixth. Channels are those of arXiv 2010.08262, where they shrink is ours.
    What timm's class has behind the features is made as small as can be: a cut leaves it out.

    `widths` sets other channels, six of them; `in_chans` 1 for grey.
    """
    given = {"widths": WIDTHS, "in_chans": 3, **own_arguments(pretrained, kwargs)}
    widths = given.pop("widths")
    if len(widths) != len(WIDTHS):
        raise TypeError(f"widths are {len(WIDTHS)} positive numbers, got {widths}")
    one, two, three, four, five, six = widths
    layout = [one, two, "M", three, four, "M", five, "M", six, "M"]
    network = VGG(layout, num_classes=0, mlp_ratio=1 / 4096, **given)
    network.default_cfg = {"input_size": (given["in_chans"], 64, 64)}  # pyright: ignore
    return network
