"""What a network takes and what a data set makes, stated alike so that they can be compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from timm.layers import PatchEmbed  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
Kind = Literal["images", "sound", "video"]


@dataclass(frozen=True)
class InputSpec:
    """One sample.

    Attributes:
        kind: images `(C, H, W)`, sound `(C, T)` or video `(C, T, H, W)`.
        channels: C.
        size: H and W in pixels, or T in samples; None for any, or where it is not known.
        frames: T of a clip of video; None likewise, and of anything else.
    """

    kind: Kind
    channels: int
    size: int | None = None
    frames: int | None = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of a sample; None where its size is open."""
        if self.size is None or (self.kind == "video" and self.frames is None):
            return None
        sizes = {"images": [self.size] * 2, "sound": [self.size]}
        return (self.channels, *sizes.get(self.kind, [self.frames or 0, self.size, self.size]))

    @property
    def told(self) -> str:
        """Its size in words."""
        if self.kind == "sound":
            return f"windows of {self.size} samples"
        frames = f"clips of {self.frames} frames" if self.kind == "video" else "images"
        return f"{frames} of {self.size} pixels"


def input_of(modules: Iterable[nn.Module]) -> InputSpec:
    """What a network takes, by its first convolution, and the size of images that it insists on;
    of clips the frames too, where the module that embeds them has an attribute `frames`."""
    modules = list(modules)
    first = first_convolution(modules)
    kind = _kind(first)
    embedding = next((module for module in modules if _insists(module)), None)
    size = None if embedding is None else int(next(iter(embedding.img_size)))  # pyright: ignore
    frames = getattr(embedding, "frames", None) if kind == "video" else None
    return InputSpec(kind, first.in_channels, size, frames)


def first_convolution(modules: Iterable[nn.Module]) -> Conv:
    """Of a network in the order in which it was put together."""
    return next(m for m in modules if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d)))


def _kind(first: Conv) -> Kind:
    if isinstance(first, nn.Conv2d):
        return "images"
    return "sound" if isinstance(first, nn.Conv1d) else "video"


def _insists(module: nn.Module) -> bool:
    """Whether it embeds patches of images, or tubelets of clips, of one size alone."""
    embeds = isinstance(module, PatchEmbed) or hasattr(module, "frames")
    strict = embeds and getattr(module, "strict_img_size", False)
    return bool(strict and getattr(module, "img_size", None))
