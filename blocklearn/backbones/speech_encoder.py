"""The speech encoder of CPC and Greedy InfoMax: five strided convolutions over the raw waveform."""

from collections.abc import Sequence
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from blocklearn.backbones.preact_resnet import own_arguments


class SpeechEncoder(nn.Module):
    """Convolutions with bias and ReLU, no normalisation (arXiv 1905.11786, released code). With the
    defaults a position stands for 160 samples: 100 Hz at 16 kHz, and sees 465.

    Args:
        channels: of every convolution.
        kernels: one a convolution.
        strides: one a convolution.
        paddings: one a convolution.
        in_chans: channels of the waveform.
    """

    def __init__(
        self,
        channels: int = 512,
        kernels: Sequence[int] = (10, 8, 4, 4, 4),
        strides: Sequence[int] = (5, 4, 2, 2, 2),
        paddings: Sequence[int] = (2, 2, 2, 2, 1),
        in_chans: int = 1,
    ) -> None:
        super().__init__()
        if not len(kernels) == len(strides) == len(paddings):
            raise TypeError(
                f"kernels, strides and paddings differ in number: {kernels}, {strides}, {paddings}"
            )
        self.feature_info: list[dict[str, Any]] = []
        hop, width = 1, in_chans
        for number, (kernel, stride, padding) in enumerate(
            zip(kernels, strides, paddings, strict=True), start=1
        ):
            self.add_module(
                f"conv{number}",
                nn.Sequential(nn.Conv1d(width, channels, kernel, stride, padding), nn.ReLU()),
            )
            hop, width = hop * stride, channels
            self.feature_info.append(
                {"num_chs": channels, "reduction": hop, "module": f"conv{number}"}
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """`(B, in_chans, L)` to `(B, channels, T)`; 20480 samples to 128 positions."""
        for info in self.feature_info:
            x = self.get_submodule(info["module"])(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The same as `forward_features`: there is no classifier."""
        return self.forward_features(x)


@register_model
def gim_speech(pretrained: bool = False, **kwargs: Any) -> SpeechEncoder:
    """For 16 kHz, as published."""
    return SpeechEncoder(**own_arguments(pretrained, kwargs))


@register_model
def gim_speech_8k(pretrained: bool = False, **kwargs: Any) -> SpeechEncoder:
    """For 8 kHz at the same 100 Hz: the second convolution has half the kernel, stride and padding.
    Not published."""
    halved: dict[str, Any] = {
        "kernels": (10, 4, 4, 4, 4),
        "strides": (5, 2, 2, 2, 2),
        "paddings": (2, 1, 2, 2, 1),
    }
    return SpeechEncoder(**halved | own_arguments(pretrained, kwargs))
