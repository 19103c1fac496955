"""The Triton kernels of the expansion benchmark without a GPU, for a process of their own: Triton
reads its settings when it is imported.

`values` (with TRITON_INTERPRET=1) prints the largest relative error of value, gradients and
statistics against float64; `compile` makes machine code for an H100 and prints the largest use of
shared memory in bytes.
"""

import copy
import sys

import torch
from torch import nn

from benchmarks.expansion import errors, plain
from benchmarks.expansion_pieces import mean_by
from benchmarks.expansion_triton import TRIED, Tiles, TritonPasses, _forward, _to_input, _to_weights

SHAPES = [((5, 24, 7, 6), 96, torch.contiguous_format), ((3, 40, 9, 9), 64, torch.channels_last)]
TILES = [Tiles(16, 32, 16), Tiles(32, 64, 32)]  # some reach beyond the ends
WIDE = ("x", "folded", "shift", "grad", "dx")


def values() -> float:
    largest = 0.0
    for shape, width, layout in SHAPES:
        torch.manual_seed(0)
        x = (torch.randn(shape) + 1).contiguous(memory_format=layout)
        weight, norm = torch.randn(width, shape[1], 1, 1), nn.BatchNorm2d(width)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        pull = torch.randn(shape[0], width)
        exact = (x.double(), weight.double(), copy.deepcopy(norm).double(), pull.double())
        truth = results(plain, *exact)
        for tiles in TILES:
            mean = mean_by(TritonPasses(tiles))
            found = results(mean, x, weight, copy.deepcopy(norm), pull)
            largest = max(largest, *errors(found, truth))
    return largest


def results(mean, x, weight, norm, pull):
    leaves = [x.requires_grad_(), weight.requires_grad_(), norm.weight, norm.bias]
    y = mean(x, weight, norm)
    gradients = torch.autograd.grad((y * pull).sum(), leaves)
    return [y.detach(), *gradients, norm.running_mean, norm.running_var]


def compile_all() -> int:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    shared, tiles = 0, TRIED[0]
    sizes = {
        "WORD": 32,
        "TILE_P": tiles.positions,
        "TILE_K": tiles.width,
        "TILE_C": tiles.channels,
    }
    kinds = {
        **dict.fromkeys(WIDE, "*bf16"),
        **dict.fromkeys(("sums", "moved", "d_beta", "offset", "mean", "pull"), "*fp32"),
        **dict.fromkeys(sizes, "constexpr"),
        "bits": "*i32",
    }
    for kernel in (_forward, _to_weights, _to_input):
        names = kernel.arg_names
        source = ASTSource(
            kernel,
            {name: kinds.get(name, "i32") for name in names},
            constexprs={(names.index(name),): value for name, value in sizes.items()},
            attrs={},
        )
        made = triton.compile(
            source,
            target=GPUTarget("cuda", 90, 32),
            options={"num_warps": tiles.warps, "num_stages": tiles.stages},
        )
        assert "wgmma" in made.asm["ptx"], "no matrix instructions"
        shared = max(shared, made.metadata.shared)
    return shared


if __name__ == "__main__":
    print(values() if sys.argv[1] == "values" else compile_all())
