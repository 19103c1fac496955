"""Directions that embeddings are compared with."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class Prototypes(nn.Module):
    """Cosine similarities of embeddings and learned directions: `(B, in_features)` to `(B, count)`.
    A linear layer without bias on unit vectors, its rows kept at length 1: that of SwAV (arXiv
    2006.09882, section 3.1), and DINO's last layer, weight-normalised with its length fixed (arXiv
    2104.14294). The rows are normalised where they are used, so that no step has to follow an
    update; the length of a weight's row means nothing.

    Args:
        in_features: components of an embedding.
        count: of directions, >= 2.

    Raises:
        ValueError: for fewer than 2.
    """

    def __init__(self, in_features: int, count: int) -> None:
        super().__init__()
        if count < 2:
            raise ValueError(f"there must be at least 2 prototypes, got {count}")
        self.out_features = count
        self.weight = nn.Parameter(torch.empty(count, in_features))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor, learns: bool | Tensor = True) -> Tensor:
        """In float32 at least, whatever the autocast.

        Args:
            x: embeddings, of any length.
            learns: whether the directions get a gradient; otherwise theirs is 0, and no weight
                decay turns them.
        """
        with torch.autocast(x.device.type, enabled=False):
            rows, kept = self.weight, self.weight.detach()
            rows = normalize(_wide(kept + (rows - kept) * learns), dim=1)
            return normalize(_wide(x), dim=1) @ rows.T

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, out_features={self.out_features}"


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
