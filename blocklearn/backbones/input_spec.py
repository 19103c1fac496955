"""What a network takes and what a data set makes, stated alike so that they can be compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from timm.layers import PatchEmbed  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

Conv = nn.Conv1d | nn.Conv2d


@dataclass(frozen=True)
class InputSpec:
    """One sample.

    Attributes:
        kind: images `(C, H, W)` or sound `(C, T)`.
        channels: C.
        size: H and W in pixels, or T in samples; None for any, or where it is not known.
    """

    kind: Literal["images", "sound"]
    channels: int
    size: int | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of a sample; None where its size is open."""
        if self.size is None:
            return None
        return (self.channels, *[self.size] * (2 if self.kind == "images" else 1))

    @property
    def told(self) -> str:
        """Its size in words."""
        pixels = self.kind == "images"
        return f"images of {self.size} pixels" if pixels else f"windows of {self.size} samples"


def input_of(modules: Iterable[nn.Module]) -> InputSpec:
    """What a network takes, by its first convolution, and the size of images that it insists on."""
    modules = list(modules)
    first = first_convolution(modules)
    insists = (m.img_size for m in modules if isinstance(m, PatchEmbed) and m.strict_img_size)
    sizes = [int(next(iter(size))) for size in insists if size]  # pyright: ignore
    kind = "sound" if isinstance(first, nn.Conv1d) else "images"
    return InputSpec(kind, first.in_channels, sizes[0] if sizes else None)


def first_convolution(modules: Iterable[nn.Module]) -> Conv:
    """Of a network in the order in which it was put together."""
    return next(module for module in modules if isinstance(module, (nn.Conv1d, nn.Conv2d)))
