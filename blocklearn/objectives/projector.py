"""The MLP between pooling and criterion, thrown away after training."""

from collections.abc import Sequence

from torch import Tensor, nn


class Projector(nn.Sequential):
    """Bias-free linear layers with BatchNorm and ReLU between them (arXiv 2103.03230, section 2.3): `(B, in_features)`
    to `(B, widths[-1])`.

    Args:
        in_features: width of the pooled feature.
        widths: width after each linear layer; `[8192, 8192, 8192]` published.

    Raises:
        ValueError: for no widths.
    """

    def __init__(self, in_features: int, widths: Sequence[int] = (8192, 8192, 8192)) -> None:
        if not widths:
            raise ValueError("Projector needs at least one width")
        layers: list[nn.Module] = []
        for width in widths[:-1]:
            layers += [nn.Linear(in_features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
            in_features = width
        super().__init__(*layers, nn.Linear(in_features, widths[-1], bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
