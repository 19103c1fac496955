"""The contract of a context network: what summarises the positions so far, from which the later
ones are predicted."""

from typing import Literal

from torch import Tensor, nn

from blocklearn.errors import UserError


class Context(nn.Module):
    """Subclass it, take the number of channels as first argument, set `out_channels` and write
    `forward`. It belongs to the
    objective: the next block gets the block's features, not the context.

    Attributes:
        reads: sound or a map.
        out_channels: of the context.
    """

    reads: Literal["sound", "map"]
    out_channels: int

    def forward(self, x: Tensor) -> Tensor:
        """Sound `(B, C, T)` to `(B, out_channels, T)`, or a map `(B, C, H, W)` to `(B,
        out_channels, H, W)`. A position may know only itself and those before it: earlier in time,
        or in the same row and the rows above."""
        raise NotImplementedError

    def require(self, given: Literal["sound", "map"]) -> None:
        """Refuse features of the other kind.

        Raises:
            UserError: naming a network that reads these.
        """
        if self.reads != given:
            other = "RecurrentContext" if given == "sound" else "PixelCNN"
            kind = "sound" if given == "sound" else "maps"
            raise UserError(
                f"objective: {type(self).__name__} does not read {kind}: take another context, "
                f"such as {other}"
            )
