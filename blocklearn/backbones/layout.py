"""The order of a feature's axes: maps, tokens or sound. Whoever wants to know which asks here."""

import math
from collections.abc import Mapping
from enum import StrEnum

from torch import Tensor

Axes = int | tuple[int, ...] | None


class Layout(StrEnum):
    """Axes in their order: batch N, channels C, height H, width W, tokens or time L."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    NLC = "NLC"
    NCL = "NCL"

    @property
    def is_map(self) -> bool:
        """A feature for every position of an image, in rows and columns."""
        return self in (Layout.NCHW, Layout.NHWC)

    @property
    def is_tokens(self) -> bool:
        """A feature for every token of a vision transformer."""
        return self is Layout.NLC

    @property
    def is_sound(self) -> bool:
        """A feature for every position in time."""
        return self is Layout.NCL

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes of the positions."""
        return tuple(axis for axis, name in enumerate(str(self.value)) if name not in "NC")

    @property
    def channel(self) -> int:
        """The axis of the channels."""
        return str(self.value).index("C")

    @property
    def kind(self) -> str:
        """What features are called in messages."""
        return "sound" if self.is_sound else "tokens" if self.is_tokens else "maps"

    @property
    def spreads(self) -> Mapping[str, Axes]:
        """The axes over which noise takes a standard deviation, by name; None for all of them."""
        positions, first = self.positions, min(self.positions)
        common: dict[str, Axes] = {
            "all": None,
            "hw": positions if len(positions) > 1 else first,
            "channel": self.channel,
        }
        return {**common, "height": first} if self.is_map else common

    def average(self, features: Tensor, prefix_tokens: int = 0) -> Tensor:
        """The mean over the positions, `(B, C)`."""
        if self.is_tokens:
            return features[:, prefix_tokens:].mean(dim=1)
        return features.mean(dim=self.positions)

    def as_map(self, features: Tensor, prefix_tokens: int = 0) -> Tensor:
        """Features as `(B, C, H, W)`; sound is a map of one row.

        Raises:
            ValueError: for a number of tokens that is no square.
        """
        if self is Layout.NCHW:
            return features
        if self.is_sound:
            return features.unsqueeze(2)
        if self is Layout.NHWC:
            return features.permute(0, 3, 1, 2)
        tokens = features[:, prefix_tokens:].transpose(1, 2)
        side = math.isqrt(tokens.shape[2])
        if side * side != tokens.shape[2]:
            raise ValueError(f"{tokens.shape[2]} tokens are no square map")
        return tokens.unflatten(2, (side, side))
