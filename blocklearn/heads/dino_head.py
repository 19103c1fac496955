"""DINO's head: an MLP to a bottleneck, and prototypes behind it."""

from torch import Tensor, nn

from blocklearn.heads.plain_projector import PlainProjector
from blocklearn.kernels.prototypes import Prototypes


class DINOHead(nn.Module):
    """An MLP with GELU and without norms to a narrow embedding, which is brought to length 1 and
    compared with many prototypes: `(B, in_features)` to `(B, prototypes)`, each in [-1, 1] (arXiv
    2104.14294, section 3.2 and appendix C).

    Args:
        in_features: width of the pooled feature.
        hidden: width of the MLP's other layers, >= 1; 2048 published.
        bottleneck: width of the embedding, >= 1; 256 published.
        prototypes: number of outputs, >= 2; 65536 published.
        layers: linear layers of the MLP, >= 1; 3 published.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        prototypes: int = 65536,
        layers: int = 3,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"DINOHead needs at least 1 layer, got {layers}")
        self.mlp = PlainProjector(in_features, [*[hidden] * (layers - 1), bottleneck], "gelu")
        self.mlp.apply(_begin_small)
        self.prototypes = Prototypes(bottleneck, prototypes)
        self.out_features, self.bottleneck = prototypes, bottleneck

    def forward(self, x: Tensor, learns: bool = True) -> Tensor:
        """Args:
        x: pooled features.
        learns: whether the prototypes get a gradient.
        """
        return self.prototypes(self.mlp(x), learns)


def _begin_small(module: nn.Module) -> None:
    """As published: weights of standard deviation 0.02, no biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
