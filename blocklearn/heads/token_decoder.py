"""From the visible tokens to the pixels of all of them."""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from blocklearn.backbones.stage import StageSpec
from blocklearn.backbones.visible_tokens import at


class TokenDecoder(nn.Module):
    """A narrow transformer that is given the features of the visible tokens, and in the place of
    each hidden one a learned mask token; both with fixed sine-cosine positions (MAE, arXiv
    2111.06377; VideoMAE, arXiv 2203.12602). Tokens before those of the positions, such as a class
    token, go along without a position.

    Args:
        spec: of the features; its `tokens` must be known.
        depth: layers.
        width: of a token, even.
        heads: of attention; they divide the width.
        mlp_ratio: width of a layer's MLP over `width`.
    """

    places: Tensor

    def __init__(
        self,
        spec: StageSpec,
        depth: int = 4,
        width: int = 192,
        heads: int = 3,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        assert spec.tokens is not None
        self.prefix_tokens, self.count = spec.prefix_tokens, spec.tokens.count
        self.embed = nn.Linear(spec.channels, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.layers = nn.Sequential(
            *(Block(width, heads, mlp_ratio, qkv_bias=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)  # as in the layers
        self.head = nn.Linear(width, spec.tokens.values)
        self.register_buffer("places", spec.tokens.positions(width), persistent=False)
        self.apply(_initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, features: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """The pixels of the hidden tokens, `(B, H, D)`.

        Args:
            features: `(B, P + V, C)`, of the visible tokens.
            visible: `(B, V)`, their positions.
            hidden: `(B, H)`, those of the others.
        """
        return self.head(self._decoded(features, visible, hidden)[:, -hidden.shape[1] :])

    def of_all(self, features: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """The pixels of all tokens, `(B, L, D)`, those that were visible too."""
        decoded = self._decoded(features, visible, hidden)[:, self.prefix_tokens :]
        back = torch.cat([visible, hidden], dim=1).argsort(dim=1)
        return at(self.head(decoded), back)

    def _decoded(self, features: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """First the tokens that were seen, then the others."""
        seen = self.embed(features)
        prefix, seen = seen.tensor_split([self.prefix_tokens], dim=1)
        masked = self.mask_token + self.places[hidden]
        x = torch.cat([prefix, seen + self.places[visible], masked], dim=1)
        return self.norm(self.layers(x))


def others(visible: Tensor, count: int) -> Tensor:
    """The positions that are not among `visible`, `(B, count - V)`, in ascending order."""
    seen = torch.zeros(len(visible), count, dtype=torch.uint8, device=visible.device)
    seen.scatter_(1, visible, 1)
    return seen.argsort(dim=1, stable=True)[:, : count - visible.shape[1]]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
