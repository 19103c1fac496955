"""Where masked tokens leave a vision transformer: behind its embedding, before its first block."""

import torch
from torch import Tensor, nn


class VisibleTokens(nn.Module):
    """Keeps the visible tokens of every sample, and the tokens before those of the positions (class
    token, registers). Without a mask it is the identity.

    Args:
        prefix_tokens: how many there are before those of the positions.
    """

    def __init__(self, prefix_tokens: int) -> None:
        super().__init__()
        self.prefix_tokens = prefix_tokens

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """`(B, P + L, C)` to `(B, P + V, C)`.

        Args:
            x: all tokens.
            visible: `(B, V)` positions; null for all.
        """
        if visible is None:
            return x
        prefix, tokens = x.tensor_split([self.prefix_tokens], dim=1)
        kept = at(tokens, visible)
        return torch.cat([prefix, kept], dim=1) if self.prefix_tokens else kept


def at(tokens: Tensor, positions: Tensor) -> Tensor:
    """Those at some positions of each sample: `(B, L, D)` and `(B, V)` to `(B, V, D)`."""
    return tokens.gather(1, positions.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
