"""The auxiliary network of decoupled greedy learning."""

import math
from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from blocklearn.backbones.stage import StageSpec
from blocklearn.heads.pooling import Pooling


class MLPSRPooling(Pooling):
    """Shrink the map, then an MLP ("mlp-sr" of decoupled greedy learning, arXiv 1901.08164): `(B,
    C, H, W)` to `(B, 4 C)`.

    The mean over windows makes the map a quarter as high and wide (rounded up); 1x1 convolutions
    without bias, each with BatchNorm and ReLU, keep its `C` channels; the mean over windows makes
    it 2 x 2, and its `4 C` numbers pass linear layers of that width, each with BatchNorm and ReLU.
    The classifier behind it is the objective's own (`Supervised`), so that these are the hidden
    layers of the MLP: three, as in the authors' code, where `--mlp 3` counts them without the
    classifier. Layers keep PyTorch's default initialisation.

    Args:
        spec: the stage it sits on.
        convolutions: number of 1x1 convolutions, >= 0; 3 published.
        layers: number of hidden linear layers, >= 0; 3 published.

    Raises:
        ValueError: for a number below 0.
    """

    def __init__(self, spec: StageSpec, convolutions: int = 3, layers: int = 3) -> None:
        super().__init__()
        if min(convolutions, layers) < 0:
            raise ValueError(
                "MLPSRPooling needs convolutions >= 0 and layers >= 0, got "
                f"{convolutions} and {layers}"
            )
        self.spec = spec
        self.out_features = 4 * spec.channels
        self.convolutions = nn.Sequential(
            *(_convolution(spec.channels) for _ in range(convolutions))
        )
        self.layers = nn.Sequential(*(_linear(self.out_features) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.spec.as_map(x)
        small = (math.ceil(x.shape[2] / 4), math.ceil(x.shape[3] / 4))
        x = self.convolutions(adaptive_avg_pool2d(x, small))
        return self.layers(adaptive_avg_pool2d(x, 2).flatten(1))


def _convolution(channels: int) -> nn.Module:
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    norm = nn.BatchNorm2d(channels)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm, act=nn.ReLU(inplace=True)))


def _linear(width: int) -> nn.Module:
    linear = nn.Linear(width, width)
    norm = nn.BatchNorm1d(width)
    return nn.Sequential(OrderedDict(linear=linear, norm=norm, act=nn.ReLU(inplace=True)))
