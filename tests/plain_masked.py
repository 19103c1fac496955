"""Masked autoencoding written out by hand, from the papers: no timm, no modules, one sample at a
time. What the package's own is compared with."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
EPSILON = 1e-6


def cut_into_patches(view: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """`(C, T, H, W)` to `(L, t * h * w * C)`, frame by frame, row by row; the channels of a pixel
    lie together."""
    t, h, w = patch
    _, frames, height, width = view.shape
    rows = []
    for f in range(0, frames, t):
        for y in range(0, height, h):
            for x in range(0, width, w):
                cube = view[:, f : f + t, y : y + h, x : x + w]
                rows.append(torch.stack([cube[:, i, j, k] for i, j, k in _places(patch)]).flatten())
    return torch.stack(rows)


def _places(patch: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    t, h, w = patch
    return [(i, j, k) for i in range(t) for j in range(h) for k in range(w)]


def sine_cosine(grid: tuple[int, int, int], width: int) -> Tensor:
    """Of every token's place: images column, then row; clips frame, row, column."""
    rows = []
    for f in range(grid[0]):
        for y in range(grid[1]):
            for x in range(grid[2]):
                axes = [x, y] if grid[0] == 1 else [f, y, x]
                each = width // (2 * len(axes))
                row = []
                for place in axes:
                    angles = [place / 10000 ** (i / each) for i in range(each)]
                    row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
                rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def layer_norm(x: Tensor, weights: Weights, name: str, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scale = (centred.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
    return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def transformer_layer(x: Tensor, weights: Weights, name: str, heads: int, eps: float) -> Tensor:
    """`(L, width)`: pre-norm attention and MLP, each with a way around it."""
    width = x.shape[1]
    each = width // heads
    qkv = linear(layer_norm(x, weights, f"{name}.norm1", eps), weights, f"{name}.attn.qkv")
    query, key, value = qkv.split(width, dim=1)
    mixed = []
    for head in range(heads):
        part = slice(head * each, (head + 1) * each)
        scores = query[:, part] @ key[:, part].T / math.sqrt(each)
        mixed.append(scores.softmax(dim=1) @ value[:, part])
    x = x + linear(torch.cat(mixed, dim=1), weights, f"{name}.attn.proj")
    inner = linear(layer_norm(x, weights, f"{name}.norm2", eps), weights, f"{name}.mlp.fc1")
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    return x + linear(inner, weights, f"{name}.mlp.fc2")


def embed(view: Tensor, weights: Weights, patch: tuple[int, int, int]) -> Tensor:
    """All tokens of `(C, T, H, W)` with their positions; a class token first where there is one."""
    kernel = weights["patch_embed.proj.weight"]  # (width, C, [t], h, w)
    kernel = kernel if kernel.dim() == 5 else kernel.unsqueeze(2)
    pixels = cut_into_patches(view, patch)
    flat = kernel.permute(0, 2, 3, 4, 1).flatten(1)
    tokens = pixels @ flat.T + weights["patch_embed.proj.bias"]
    if "cls_token" in weights:
        tokens = torch.cat([weights["cls_token"][0], tokens])
    return tokens + weights["pos_embed"][0]


def decoded_loss(
    features: Tensor,
    weights: Weights,
    view: Tensor,
    visible: Sequence[int],
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
    prefix: int,
    depth: int,
    heads: int,
    normalise: bool,
) -> Tensor:
    """Sum of squares over the hidden tokens of one sample.

    Args:
        features: `(prefix + V, C)`.
        weights: of the decoder.
    """
    count = math.prod(grid)
    hidden = [token for token in range(count) if token not in visible]
    seen = linear(features, weights, "embed")
    places = sine_cosine(grid, seen.shape[1])
    rows = [seen[:prefix], seen[prefix:] + places[list(visible)]]
    rows.append(torch.stack([weights["mask_token"] + places[token] for token in hidden]))
    x = torch.cat(rows)
    for layer in range(depth):
        x = transformer_layer(x, weights, f"layers.{layer}", heads, EPSILON)
    painted = linear(layer_norm(x, weights, "norm", EPSILON), weights, "head")[-len(hidden) :]
    target = cut_into_patches(view, patch)
    if normalise:
        mean = target.mean(dim=1, keepdim=True)
        variance = (target - mean).pow(2).sum(dim=1, keepdim=True) / (target.shape[1] - 1)
        target = (target - mean) / (variance + EPSILON).sqrt()
    return (painted - target[hidden]).pow(2).sum()
