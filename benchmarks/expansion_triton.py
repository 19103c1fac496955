"""The passes of the fused 1x1 expansion as Triton kernels: a candidate of `benchmarks.expansion`,
no part of the package.

A tile of activations is made, used and forgotten within a kernel; what forward keeps is a bit an
activation, 32 to a word along the channels. Every sum is made in float32 and in one order, so that
two runs give the same bits. In backward the weights' part runs first, since BatchNorm's correction
of the input's gradient needs its sums; the second kernel then writes that gradient once.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# what Triton's decorator makes of a function is called in another way

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmarks.expansion_pieces import Correction

WORD = 32
PARTS = 32  # groups of samples whose sums for the weights are made side by side


class Tiles(NamedTuple):
    """Sizes of the tiles, each a power of two and at least 16; that of `width` at least 32."""

    positions: int
    width: int
    channels: int
    warps: int = 4
    stages: int = 3


TRIED = (
    Tiles(64, 128, 32),
    Tiles(128, 128, 32, 8, 3),
    Tiles(128, 128, 64, 8, 3),
    Tiles(64, 128, 64, 4, 4),
    Tiles(128, 64, 64, 4, 3),
    Tiles(64, 64, 64, 4, 4),
)


@triton.jit
def _tile(x, p, c, P, C, stride_p, stride_c):
    """`(positions, channels)` of one sample, 0 outside."""
    where = p[:, None] * stride_p + c[None, :] * stride_c
    return tl.load(x + where, mask=(p[:, None] < P) & (c[None, :] < C), other=0.0)


@triton.jit
def _gradient_tile(bits, grad, p, k, P, K, WORD: tl.constexpr):
    """`(positions, width)`: the sample's gradient where the activation was above 0."""
    inside = (p[:, None] < P) & (k[None, :] < K)
    words = tl.load(bits + p[:, None] * (K // WORD) + k[None, :] // WORD, mask=inside, other=0)
    above = ((words >> (k[None, :] % WORD)) & 1) > 0
    own = tl.load(grad + k, mask=k < K, other=0.0)
    return tl.where(above, own[None, :], 0.0).to(own.dtype)


@triton.jit
def _forward(
    x,
    folded,  # (K, C)
    shift,
    sums,
    bits,
    P,
    C,
    K,
    stride_b,
    stride_p,
    stride_c,
    WORD: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_K: tl.constexpr,
    TILE_C: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * TILE_K + tl.arange(0, TILE_K)
    x += sample * stride_b
    bits += sample * P * (K // WORD)
    low = folded.dtype.element_ty
    add = tl.load(shift + k, mask=k < K, other=0.0).to(tl.float32)
    total = tl.zeros((TILE_K,), dtype=tl.float32)
    word = tl.program_id(1) * (TILE_K // WORD) + tl.arange(0, TILE_K // WORD)
    place = tl.arange(0, WORD)
    for begin in range(0, P, TILE_P):
        p = begin + tl.arange(0, TILE_P)
        u = tl.zeros((TILE_P, TILE_K), dtype=tl.float32)
        for first in range(0, C, TILE_C):
            c = first + tl.arange(0, TILE_C)
            part = _tile(x, p, c, P, C, stride_p, stride_c).to(low)
            w = tl.load(
                folded + k[None, :] * C + c[:, None],
                mask=(k[None, :] < K) & (c[:, None] < C),
                other=0.0,
            )
            u = tl.dot(part, w, u, input_precision="ieee")
        u += add[None, :]
        above = (u > 0) & (p[:, None] < P) & (k[None, :] < K)
        total += tl.sum(tl.where(above, u, 0.0), axis=0)
        split = tl.reshape(above.to(tl.int32), (TILE_P, TILE_K // WORD, WORD))
        packed = tl.sum(split << place[None, None, :], axis=2)
        tl.store(
            bits + p[:, None] * (K // WORD) + word[None, :],
            packed,
            mask=(p[:, None] < P) & (word[None, :] < K // WORD),
        )
    tl.store(sums + sample * K + k, total, mask=k < K)


@triton.jit
def _to_weights(
    x,
    bits,
    grad,
    moved,  # (PARTS, K, C)
    d_beta,  # (PARTS, K)
    B,
    P,
    C,
    K,
    PER_PART,
    stride_b,
    stride_p,
    stride_c,
    WORD: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_K: tl.constexpr,
    TILE_C: tl.constexpr,
):
    k = tl.program_id(0) * TILE_K + tl.arange(0, TILE_K)
    c = tl.program_id(1) * TILE_C + tl.arange(0, TILE_C)
    part = tl.program_id(2)
    products = tl.zeros((TILE_K, TILE_C), dtype=tl.float32)
    total = tl.zeros((TILE_K,), dtype=tl.float32)
    for number in range(part * PER_PART, min((part + 1) * PER_PART, B)):
        sample = tl.cast(number, tl.int64)
        for begin in range(0, P, TILE_P):
            p = begin + tl.arange(0, TILE_P)
            own_bits = bits + sample * P * (K // WORD)
            g = _gradient_tile(own_bits, grad + sample * K, p, k, P, K, WORD)
            values = _tile(x + sample * stride_b, p, c, P, C, stride_p, stride_c).to(g.dtype)
            products = tl.dot(tl.trans(g), values, products, input_precision="ieee")
            total += tl.sum(g.to(tl.float32), axis=0)
    where = part * K * C + k[:, None] * C + c[None, :]
    tl.store(moved + where, products, mask=(k[:, None] < K) & (c[None, :] < C))
    if tl.program_id(1) == 0:  # the same for all tiles of channels
        tl.store(d_beta + part * K + k, total, mask=k < K)


@triton.jit
def _to_input(
    x,
    bits,
    grad,
    folded,
    offset,
    mean,
    pull,
    dx,
    P,
    C,
    K,
    stride_b,
    stride_p,
    stride_c,
    out_b,
    out_p,
    out_c,
    WORD: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_K: tl.constexpr,
    TILE_C: tl.constexpr,
):
    sample = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * TILE_P + tl.arange(0, TILE_P)
    c = tl.program_id(2) * TILE_C + tl.arange(0, TILE_C)
    low = folded.dtype.element_ty
    x += sample * stride_b
    found = tl.zeros((TILE_P, TILE_C), dtype=tl.float32)
    for first in range(0, K, TILE_K):
        k = first + tl.arange(0, TILE_K)
        own_bits = bits + sample * P * (K // WORD)
        g = _gradient_tile(own_bits, grad + sample * K, p, k, P, K, WORD)
        w = tl.load(
            folded + k[:, None] * C + c[None, :],
            mask=(k[:, None] < K) & (c[None, :] < C),
            other=0.0,
        )
        found = tl.dot(g, w, found, input_precision="ieee")
    drawn = tl.zeros((TILE_P, TILE_C), dtype=tl.float32)
    for first in range(0, C, TILE_C):
        other = first + tl.arange(0, TILE_C)
        middle = tl.load(mean + other, mask=other < C, other=0.0)
        values = _tile(x, p, other, P, C, stride_p, stride_c).to(tl.float32) - middle[None, :]
        weights = tl.load(
            pull + other[:, None] * C + c[None, :],
            mask=(other[:, None] < C) & (c[None, :] < C),
            other=0.0,
        )
        drawn = tl.dot(values.to(low), weights.to(low), drawn, input_precision="ieee")
    found -= drawn + tl.load(offset + c, mask=c < C, other=0.0)[None, :]
    where = dx + sample * out_b + p[:, None] * out_p + c[None, :] * out_c
    inside = (p[:, None] < P) & (c[None, :] < C)
    tl.store(where, found.to(dx.dtype.element_ty), mask=inside)


class TritonPasses:
    """See `benchmarks.expansion_pieces.Passes`; sums are in float32, whatever the types.

    Args:
        tiles: their sizes.

    Raises:
        ValueError: from `forward`, for a width that is no multiple of 32.
    """

    def __init__(self, tiles: Tiles = TRIED[0]) -> None:
        self.tiles = tiles

    def forward(self, rows: Tensor, folded: Tensor, shift: Tensor, sums: Tensor) -> list[Tensor]:
        samples, positions, channels = rows.shape
        width = len(folded)
        if width % WORD:
            raise ValueError(f"the width is a multiple of {WORD}, got {width}")
        bits = torch.empty(samples, positions, width // WORD, dtype=torch.int32, device=rows.device)
        grid = (samples, triton.cdiv(width, self.tiles.width))
        _forward[grid](
            rows,
            folded.contiguous(),
            shift,
            sums,
            bits,
            positions,
            channels,
            width,
            *rows.stride(),
            **self._shape(),
        )
        return [bits]

    def to_weights(self, rows: Tensor, kept: list[Tensor], grad: Tensor) -> tuple[Tensor, Tensor]:
        samples, positions, channels = rows.shape
        width, parts = grad.shape[1], min(PARTS, samples)
        moved = rows.new_empty(parts, width, channels, dtype=torch.float32)
        d_beta = rows.new_empty(parts, width, dtype=torch.float32)
        tiles = self.tiles
        grid = (triton.cdiv(width, tiles.width), triton.cdiv(channels, tiles.channels), parts)
        _to_weights[grid](
            rows,
            kept[0],
            grad.contiguous(),
            moved,
            d_beta,
            samples,
            positions,
            channels,
            width,
            triton.cdiv(samples, parts),
            *rows.stride(),
            **self._shape(),
        )
        return moved.sum(0), d_beta.sum(0)

    def to_input(
        self,
        rows: Tensor,
        kept: list[Tensor],
        grad: Tensor,
        folded: Tensor,
        correction: Correction,
        dx: Tensor,
    ) -> None:
        samples, positions, channels = rows.shape
        tiles = self.tiles
        grid = (
            samples,
            triton.cdiv(positions, tiles.positions),
            triton.cdiv(channels, tiles.channels),
        )
        _to_input[grid](
            rows,
            kept[0],
            grad.contiguous(),
            folded.contiguous(),
            *(tensor.contiguous() for tensor in correction),
            dx,
            positions,
            channels,
            len(folded),
            *rows.stride(),
            *dx.stride(),
            **self._shape(),
        )

    def _shape(self) -> dict[str, int]:
        tiles = self.tiles
        return {
            "WORD": WORD,
            "TILE_P": tiles.positions,
            "TILE_K": tiles.width,
            "TILE_C": tiles.channels,
            "num_warps": tiles.warps,
            "num_stages": tiles.stages,
        }
