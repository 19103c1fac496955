"""The MLP between pooling and criterion, thrown away after training."""

from collections.abc import Sequence

from torch import Tensor, nn


class Projector(nn.Sequential):
    """Bias-free linear layers with BatchNorm and ReLU between them (arXiv 2103.03230, section 2.3):
    `(B, in_features)` to `(B, widths[-1])`.

    Args:
        in_features: width of the pooled feature.
        widths: width after each linear layer, each >= 1; `[8192, 8192, 8192]` published.
        last_norm: BatchNorm without scale and shift behind the last layer too, as SimSiam's
            projector has it (arXiv 2011.10566), and MoCo v3's.

    Raises:
        ValueError: for no widths, or one below 1.
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int] = (8192, 8192, 8192),
        last_norm: bool = False,
    ) -> None:
        if not widths or min(widths) < 1:
            raise ValueError(
                f"Projector needs at least one width, each at least 1, got {list(widths)}"
            )
        layers: list[nn.Module] = []
        for width in widths[:-1]:
            layers += [
                nn.Linear(in_features, width, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(inplace=True),
            ]
            in_features = width
        norm = [nn.BatchNorm1d(widths[-1], affine=False)] if last_norm else []
        super().__init__(*layers, nn.Linear(in_features, widths[-1], bias=False), *norm)
        self.out_features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
