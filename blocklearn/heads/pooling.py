"""From a stage's features to one vector per sample."""

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from blocklearn.backbones.stage import StageSpec
from blocklearn.errors import UserError
from blocklearn.kernels.expanded_mean import expanded_mean
from blocklearn.kernels.recomputed_mean import recomputed_mean


class Pooling(nn.Module):
    """Subclass it, take the `StageSpec` as first argument, set `out_features` and write
    `forward`."""

    out_features: int

    def forward(self, x: Tensor) -> Tensor:
        """Features in the layout of the stage, e.g. `(B, C, H, W)`, to `(B, out_features)`.
        `spec.as_map` makes `(B, C, H, W)` of every layout."""
        raise NotImplementedError

    def require(self, x: Tensor) -> None:
        """Raise a `UserError` for features of a size that it can make nothing of; asked before
        training. By default any will do."""


class GlobalPooling(Pooling):
    """The mean over all positions (GSP): `(B, C, H, W)` to `(B, C)`; for tokens, over those of the
    positions."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()
        self.spec = spec
        self.out_features = spec.channels

    def forward(self, x: Tensor) -> Tensor:
        return self.spec.average(x)


class LocalPooling(Pooling):
    """The mean over each window of a grid, the positions kept apart (LSP): `(B, C, H, W)` to `(B, C
    * grid * grid)`, row by row within a channel. The windows cover the map; they overlap by a
    position where its side is no multiple of the grid.

    Args:
        spec: the stage it sits on.
        grid: windows per side, >= 1; 1 is `GlobalPooling`.

    Raises:
        ValueError: for a grid below 1.
        UserError: on a map with fewer positions per side than windows.
    """

    def __init__(self, spec: StageSpec, grid: int = 2) -> None:
        super().__init__()
        if grid < 1:
            raise ValueError(f"LocalPooling: grid is at least 1, got {grid}")
        self.spec = spec
        self.grid = grid
        self.out_features = spec.channels * grid * grid

    def forward(self, x: Tensor) -> Tensor:
        self.require(x)
        return adaptive_avg_pool2d(self.spec.as_map(x), self.grid).flatten(1)

    def require(self, x: Tensor) -> None:
        height, width = self.spec.as_map(x).shape[2:]
        if self.grid > min(height, width):
            raise UserError(
                f"LocalPooling: {self.spec.name} has a map of {height} x {width} positions, not "
                f"{self.grid} a side; lower grid"
            )

    def extra_repr(self) -> str:
        return f"grid={self.grid}"


class TwoLayerPooling(Pooling):
    """Pool twice with a layer between (2LSP): the mean over each window of a grid, `(B, C, grid,
    grid)`; at each window a linear layer to `width` without bias, BatchNorm and ReLU; the mean over
    the windows, `(B, width)`.

    It is `ExpandPooling` on a map that was made small first, so it costs `grid * grid` positions
    whatever the map.

    Args:
        spec: the stage it sits on.
        width: after the linear layer, >= 1.
        grid: windows per side, >= 1.

    Raises:
        ValueError: for a width or grid below 1.
    """

    def __init__(self, spec: StageSpec, width: int = 2048, grid: int = 4) -> None:
        super().__init__()
        if grid < 1:
            raise ValueError(f"TwoLayerPooling: grid is at least 1, got {grid}")
        require_width(self, width)
        self.spec = spec
        self.grid = grid
        self.out_features = width
        self.conv = nn.Conv2d(spec.channels, width, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        windows = adaptive_avg_pool2d(self.spec.as_map(x), self.grid)
        return self.norm(self.conv(windows)).relu().mean(dim=(2, 3))

    def extra_repr(self) -> str:
        return f"grid={self.grid}"


class ExpandPooling(Pooling):
    """Expand, then average (CbE, arXiv 2302.01647): convolution without bias to `width` channels,
    BatchNorm, ReLU, mean over all positions: `(B, C, H, W)` to `(B, width)`. The convolution keeps
    PyTorch's default initialisation.

    Where `width` is at least four times the channels the expanded map is never held (`fused`), at
    equal values but for rounding. Below that the map is no larger than a few of the stage's own,
    and plain PyTorch is faster.

    Args:
        spec: the stage it sits on.
        width: channels after the expansion, >= 1; 2048 published.
        kernel_size: 1 (the released training script) or 3 (padding 1).
        fused: false for plain PyTorch always: more memory, and with a 3x3 kernel, which `fused`
            computes twice more, less time.

    Raises:
        ValueError: for another kernel size, or a width below 1.
    """

    def __init__(
        self, spec: StageSpec, width: int = 2048, kernel_size: int = 1, fused: bool = True
    ) -> None:
        super().__init__()
        if kernel_size not in (1, 3):
            raise ValueError(f"ExpandPooling: kernel_size is 1 or 3, got {kernel_size}")
        require_width(self, width)
        self.spec = spec
        self.out_features = width
        self.conv = nn.Conv2d(
            spec.channels, width, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(width)
        self.fused = fused and width >= 4 * spec.channels

    def forward(self, x: Tensor) -> Tensor:
        x = self.spec.as_map(x)
        if not self.fused:
            return self.norm(self.conv(x)).relu().mean(dim=(2, 3))
        mean = expanded_mean if self.conv.kernel_size == (1, 1) else recomputed_mean
        return mean(x, self.conv.weight, self.norm)


class TokenMeanPooling(Pooling):
    """The mean over all tokens of a vision transformer, class token included: `(B, L, C)` to `(B,
    C)`. `GlobalPooling` leaves the class token out.

    Raises:
        UserError: on a stage that hands on no tokens.
    """

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()
        require_tokens(self, spec)
        self.out_features = spec.channels

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


class ClassTokenPooling(Pooling):
    """The class token of a vision transformer: `(B, L, C)` to `(B, C)`.

    Raises:
        UserError: on a stage without one.
    """

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()
        require_tokens(self, spec)
        if spec.prefix_tokens < 1:
            raise UserError(
                f"ClassTokenPooling: {spec.name} has no class token; take TokenMeanPooling or "
                "GlobalPooling"
            )
        self.out_features = spec.channels

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def require_width(pooling: Pooling, width: int) -> None:
    if width < 1:
        raise ValueError(f"{type(pooling).__name__}: width is at least 1, got {width}")


def require_tokens(pooling: Pooling, spec: StageSpec) -> None:
    if not spec.layout.is_tokens:
        raise UserError(
            f"{type(pooling).__name__}: {spec.name} hands on a map ({spec.layout}), not tokens; "
            "take GlobalPooling"
        )
