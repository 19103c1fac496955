"""The residual networks for images of 32 pixels: three stages, up to 110 layers and more."""

from collections.abc import Sequence
from typing import Any

from timm.models import register_model
from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn

from blocklearn.backbones.preact_resnet import own_arguments


class CifarResNet(nn.Module):
    """The ResNets for CIFAR-10 (arXiv 1512.03385, section 4.2): a 3x3 convolution of stride 1, then
    three stages of timm's `BasicBlock` with strides 1, 2, 2; `6n + 2` layers with `n` units a
    stage. Where the map shrinks the shortcut is a 1x1 convolution and BatchNorm, as in InfoPro's
    released code (arXiv 2101.10832); the paper's own pads with zeros and has 2,752 parameters less.

    Args:
        layers: units a stage.
        channels: of each stage.
        in_chans: channels of the image, 1 for grey.
    """

    default_cfg = {"input_size": (3, 32, 32)}

    def __init__(
        self,
        layers: Sequence[int] = (5, 5, 5),
        channels: Sequence[int] = (16, 32, 64),
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        if not len(layers) == len(channels) == 3 or min(*layers, *channels) < 1:
            raise TypeError(
                f"layers and channels are three positive numbers each, got {layers} and {channels}"
            )
        width = channels[0]
        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False)
        self.bn1, self.act1 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.feature_info: list[dict[str, Any]] = []
        for number, (count, own) in enumerate(zip(layers, channels, strict=True), start=1):
            name = f"layer{number}"
            self.add_module(name, _stage(width, own, count, stride=1 if number == 1 else 2))
            self.feature_info.append(
                {"num_chs": own, "reduction": 2 ** (number - 1), "module": name}
            )
            width = own
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """`(B, in_chans, H, W)` to `(B, C, H / 4, W / 4)`."""
        x = self.act1(self.bn1(self.conv1(x)))
        for info in self.feature_info:
            x = self.get_submodule(info["module"])(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The same as `forward_features`: there is no classifier."""
        return self.forward_features(x)


def _stage(in_channels: int, channels: int, count: int, stride: int) -> nn.Sequential:
    changes = stride != 1 or in_channels != channels
    shortcut = downsample_conv(in_channels, channels, 1, stride) if changes else None
    first = BasicBlock(in_channels, channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(count - 1)))


def _of_depth(layers: int, pretrained: bool, given: dict[str, Any]) -> CifarResNet:
    units = (layers - 2) // 6
    return CifarResNet(**{"layers": (units,) * 3, **own_arguments(pretrained, given)})


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """3 units a stage."""
    return _of_depth(20, pretrained, kwargs)


@register_model
def cifar_resnet32(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """5 units a stage."""
    return _of_depth(32, pretrained, kwargs)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """9 units a stage."""
    return _of_depth(56, pretrained, kwargs)


@register_model
def cifar_resnet110(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """18 units a stage."""
    return _of_depth(110, pretrained, kwargs)
