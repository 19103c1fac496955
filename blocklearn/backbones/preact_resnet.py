"""The patch encoder of Greedy InfoMax: a pre-activation ResNet of three stages without
normalisation."""

from collections.abc import Sequence
from typing import Any

from timm.models import register_model
from torch import Tensor, nn


class BasicUnit(nn.Module):
    """ReLU and 3x3 convolution, twice, beside a shortcut.

    Args:
        in_channels: of the input.
        width: of the convolutions.
        stride: of the first convolution, and of the shortcut.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.shortcut = _shortcut(in_channels, width * self.expansion, stride)
        self.residual = self._residual(in_channels, width, stride)

    def _residual(self, in_channels: int, width: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stride, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, width * expansion, H / stride, W / stride)`. The plain shortcut
        takes the input as it is, the projection takes it behind the first ReLU."""
        activated = x.relu()
        return self.residual(activated) + (x if self.shortcut is None else self.shortcut(activated))


class BottleneckUnit(BasicUnit):
    """The same with 1x1, 3x3 (which carries the stride) and 1x1 convolutions, the last to four
    times the width."""

    expansion = 4

    def _residual(self, in_channels: int, width: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width * self.expansion, 1),
        )


class PreActResNet(nn.Module):
    """The vision encoder of Greedy InfoMax (arXiv 1905.11786, released code): a 5x5 convolution of
    stride 1, then three stages of pre-activation units with strides 1, 2, 2. No normalisation,
    every convolution with bias, no ReLU at the end; PyTorch's default initialisation.

    Args:
        unit: `BasicUnit` (ResNet-34) or `BottleneckUnit` (ResNet-50).
        layers: units a stage.
        channels: width of each stage; it hands on `width * unit.expansion`.
        in_chans: channels of the image, 1 for grey.
    """

    def __init__(
        self,
        unit: type[BasicUnit],
        layers: Sequence[int] = (3, 4, 6),
        channels: Sequence[int] = (64, 128, 256),
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        if not len(layers) == len(channels) == 3 or min(*layers, *channels) < 1:
            raise TypeError(
                f"layers and channels are three positive numbers each, got {layers} and {channels}"
            )
        self.stem = nn.Conv2d(in_chans, channels[0], 5, padding=2)
        self.feature_info: list[dict[str, Any]] = []
        width = channels[0]
        for number, (count, own) in enumerate(zip(layers, channels, strict=True), start=1):
            stage = nn.Sequential()
            for position in range(count):
                stage.append(unit(width, own, stride=2 if number > 1 and position == 0 else 1))
                width = own * unit.expansion
            self.add_module(f"layer{number}", stage)
            self.feature_info.append(
                {"num_chs": width, "reduction": 2 ** (number - 1), "module": f"layer{number}"}
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """`(B, in_chans, H, W)` to `(B, C, H / 4, W / 4)`."""
        x = self.stem(x)
        for info in self.feature_info:
            x = self.get_submodule(info["module"])(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The same as `forward_features`: there is no classifier."""
        return self.forward_features(x)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Conv2d(in_channels, out_channels, 1, stride)


@register_model
def gim_resnet50(pretrained: bool = False, **kwargs: Any) -> PreActResNet:
    """Bottleneck units: 256, 512 and 1024 channels."""
    return PreActResNet(BottleneckUnit, **own_arguments(pretrained, kwargs))


@register_model
def gim_resnet34(pretrained: bool = False, **kwargs: Any) -> PreActResNet:
    """Basic units: 64, 128 and 256 channels."""
    return PreActResNet(BasicUnit, **own_arguments(pretrained, kwargs))


def own_arguments(pretrained: bool, given: dict[str, Any]) -> dict[str, Any]:
    """What is left for an encoder of the arguments that `timm.create_model` passes on.

    Raises:
        RuntimeError: for pretrained weights, of which there are none.
    """
    if pretrained:
        raise RuntimeError("there are no published weights of it")
    of_timm = {
        "num_classes",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "cache_dir",
        "features_only",
    }
    return {name: value for name, value in given.items() if name not in of_timm}
