"""Stages: the smallest pieces of a backbone, and what they hand on."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from blocklearn.backbones.layout import Layout
from blocklearn.backbones.token_grid import TokenGrid
from blocklearn.backbones.visible_tokens import VisibleTokens
from blocklearn.errors import UserError

SHELL = "shell"  # a stage's name for what is left of the backbone itself, e.g. a ViT's embedding


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What a stage hands on.

    Attributes:
        name: the timm name of its last module, e.g. `layer1`; `stem` for a stem alone.
        channels: number of channels.
        stride: pixels of the input image per position, e.g. 4; in sound, samples per position.
        layout: order of the axes: `NCHW` is `(batch, channels, height, width)`, `NLC` is `(batch,
            tokens, channels)`, `NCL` is `(batch, channels, time)`.
        prefix_tokens: tokens before those of the positions, class token first; 0 but for `NLC`.
        patch_grid: above 1 every image was cut into so many patches per side, and they lie along
            the batch axis: image by image, row by row.
        tokens: what tokens stand for; null for other layouts, and where images may have any size.
    """

    name: str
    channels: int
    stride: int
    layout: Layout = Layout.NCHW
    prefix_tokens: int = 0
    patch_grid: int = 1
    tokens: TokenGrid | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", Layout(self.layout))  # or its name

    def as_map(self, features: Tensor) -> Tensor:
        """Features as `(B, C, H, W)`, whatever their layout; prefix tokens are left out. Of patches
        it is the mean of each, at its place in the grid; of sound, a map of one row; of clips, the
        mean over time.

        Raises:
            UserError: for a number of tokens that is no square.
        """
        if self.patch_grid > 1:
            grid = (-1, self.patch_grid, self.patch_grid)
            patches = self.layout.average(features, self.prefix_tokens)
            return patches.unflatten(0, grid).permute(0, 3, 1, 2)
        tokens = features.shape[1] - self.prefix_tokens
        if self.tokens and tokens == self.tokens.count:
            places = features[:, self.prefix_tokens :].unflatten(1, self.tokens.grid)
            return places.mean(dim=1).permute(0, 3, 1, 2)
        try:
            return self.layout.as_map(features, self.prefix_tokens)
        except ValueError as error:
            raise UserError(
                f"{self.name}: {error}; use square images, or TokenMeanPooling"
            ) from error

    def average(self, features: Tensor) -> Tensor:
        """The mean over all positions, and all patches of an image, `(B, C)`; prefix tokens are
        left out."""
        average = self.layout.average(features, self.prefix_tokens)
        if self.patch_grid > 1:
            return average.unflatten(0, (-1, self.patch_grid**2)).mean(dim=1)
        return average


class Stage(nn.Sequential):
    """A run of consecutive modules of a backbone.

    Args:
        spec: what it hands on.
        modules: under timm's dotted names, in order.
        units: how many residual units they are.
        ends: what is handed on within the stage, where a cut could fall too, and behind how many of
            the modules; null for the end alone.
    """

    def __init__(
        self,
        spec: StageSpec,
        modules: "OrderedDict[str, nn.Module]",
        units: int = 1,
        ends: Sequence[tuple[StageSpec, int]] | None = None,
    ) -> None:
        super().__init__(
            OrderedDict((name.replace(".", "/"), module) for name, module in modules.items())
        )
        self.spec, self.units = spec, units
        self._ends = tuple(ends or [(spec, len(modules))])
        self.compiled = False

    def forward(self, input: Tensor, visible: Tensor | None = None) -> Tensor:
        """Args:
        input: of the first module.
        visible: `(B, V)` positions of the tokens that are seen; null for all. Heeded where the
            stage holds a vision transformer's embedding.
        """
        for module in self:
            input = module(input, visible) if isinstance(module, VisibleTokens) else module(input)
        return input

    def parts(self) -> list[tuple[StageSpec, list[nn.Module]]]:
        """Its modules, unit by unit, with what each unit hands on. The stem is a part of its own,
        and what lies between two units belongs to the later one."""
        modules, begin = list(self), 0
        found: list[tuple[StageSpec, list[nn.Module]]] = []
        for spec, end in self._ends:
            found.append((spec, modules[begin:end]))
            begin = end
        return found

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile its forward pass, in place (`torch.compile`), at its first call, for the shapes
        that it gets, and anew for others.

        PyTorch keeps what it compiles by the code of a function. All modules share one, so that
        stages would look to it like one function of changing shapes, and count together towards the
        limit of recompilations; each has its own.
        """
        code, names = _call.__code__.replace(), _call.__globals__
        own = FunctionType(code, names, argdefs=_call.__defaults__)
        self._compiled_call_impl = torch.compile(
            MethodType(own, self), *args, **{"dynamic": False, **kwargs}
        )
        self.compiled = True

    def backbone_state_dict(self) -> dict[str, Tensor]:
        """Its weights under the backbone's own names."""
        return {backbone_name(name): tensor for name, tensor in self.state_dict().items()}


def _call(stage: Stage, x: Tensor, visible: Tensor | None = None) -> Tensor:
    return stage._call_impl(x, visible)  # pyright: ignore[reportReturnType]


def backbone_name(name: str) -> str:
    """The backbone's name for a stage's weight: `layer1/0.conv1.weight` is
    `layer1.0.conv1.weight`."""
    return name.replace("/", ".").removeprefix(f"{SHELL}.")
