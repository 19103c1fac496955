"""The contract of a context network: what summarises the positions so far, from which the later ones are predicted."""

from torch import Tensor, nn


class Context(nn.Module):
    """Subclass it, take the number of channels as first argument, set `out_channels` and write `forward`. It belongs to the
    objective: the next block gets the block's features, not the context.

    Attributes:
        out_channels: of the context.
    """

    out_channels: int

    def forward(self, x: Tensor) -> Tensor:
        """Sound `(B, C, T)` to `(B, out_channels, T)`, or a map `(B, C, H, W)` to `(B, out_channels, H, W)`. A position may
        know only itself and those before it: earlier in time, or in the same row and the rows above."""
        raise NotImplementedError
