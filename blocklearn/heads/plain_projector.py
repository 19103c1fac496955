"""An MLP without norms."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class PlainProjector(nn.Sequential):
    """Linear layers with biases and an activation between them, without norms: `(B, in_features)`
    to `(B, widths[-1])`. The head of MoCo v2 (arXiv 2003.04297, section 3), and the MLP of DINO's
    (arXiv 2104.14294, section 3.2).

    Args:
        in_features: width of the pooled feature.
        widths: width after each linear layer, each >= 1; MoCo v2 has `[2048, 128]`.
        activation: `relu` or `gelu`.

    Raises:
        ValueError: for no widths, one below 1, or another activation.
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int] = (2048, 128),
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        if not widths or min(widths) < 1 or activation not in ACTIVATIONS:
            raise ValueError(
                "PlainProjector needs at least one width, each at least 1, and an activation of "
                f"relu or gelu, got {list(widths)} and {activation}"
            )
        layers: list[nn.Module] = []
        for width in widths[:-1]:
            layers += [nn.Linear(in_features, width), ACTIVATIONS[activation]()]
            in_features = width
        super().__init__(*layers, nn.Linear(in_features, widths[-1]))
        self.out_features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
