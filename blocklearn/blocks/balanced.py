"""Blocks whose activations take as equally much memory as the units of a backbone allow
(`--model.blocks balanced:4`)."""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from blocklearn.backbones.cut import Grouping
from blocklearn.backbones.families import Piece, pieces_of
from blocklearn.backbones.input_spec import input_of
from blocklearn.backbones.patches import Patches
from blocklearn.backbones.stage import Stage
from blocklearn.blocks.imagined import imagining
from blocklearn.errors import UserError

Blocks = Grouping | str  # `balanced:4` too
Kept = dict[int, int]  # storages and their bytes

BALANCED = re.compile(r"balanced:([1-9]\d*)")
WORDS = get_args(get_args(Grouping)[0])
SMALL_IMAGE, WINDOW = 32, 20480  # pixels; samples of sound, as Greedy InfoMax has them


def named_blocks(
    blocks: Blocks, backbone: nn.Module, small_stem: bool = False, patches: Patches | None = None
) -> Grouping:
    """A grouping as `cut_backbone` takes it: `balanced:4` by the names of its stages, any other as
    it is.

    `balanced:K` is, among all ways to divide the units into K blocks, one whose largest block keeps
    the fewest bytes for its backward pass, and of those the most even one (arXiv 2101.10832 calls
    it InfoPro*). Bytes are those of the backbone's own activations, counted by `kept_by_unit`;
    objectives and recomputation are left out. They are counted for images of the backbone's default
    size (timm's `input_size`, or `img_size`), of 32 pixels where it has none or `small_stem` is
    set, and of one patch where images are cut; another size scales the maps of all units alike, so
    that the cut hardly depends on it.

    Args:
        blocks: as for `BlockwiseModule`.
        backbone: from `create_backbone`; left as it is.
        small_stem: whether its stem has been shrunk.
        patches: into which images are cut.

    Raises:
        UserError: for a word that is no grouping, and for more blocks than the backbone has units.
    """
    if not isinstance(blocks, str) or blocks in WORDS:
        return blocks  # pyright: ignore[reportReturnType]
    count = _count_of(blocks)
    shape = _shape_of_sample(backbone, small_stem, patches)
    with imagining(backbone) as imagined:
        units = _units(pieces_of(imagined))
        if count > len(units):
            raise UserError(
                f"model.blocks: {count} blocks cannot be made of the {len(units)} units of this "
                f"backbone; give balanced:1 to balanced:{len(units)}"
            )
        kept = kept_by_unit([_stage(unit) for unit in units], shape)
    ends = even_ends(kept, count)
    lasts = [unit[-1] for unit in units]
    return [
        [
            piece.spec.name
            for place, piece in enumerate(lasts[begin:end], start=begin + 1)
            if piece.ends_stage or place == end
        ]
        for begin, end in pairwise([0, *ends])
    ]


def kept_by_unit(units: Sequence[nn.Module], shape: Sequence[int]) -> list[Kept]:
    """What each unit keeps for its backward pass in a training step of two samples: bytes by
    storage, the same name for one that two units keep. Exact: all that autograd saves, each storage
    once, but for the samples themselves, weights and buffers. Inside `imagining` nothing is
    computed.

    Args:
        units: in order; they are set to training.
        shape: of a sample, such as `(3, 32, 32)`.
    """
    weights = [tensor for unit in units for tensor in (*unit.parameters(), *unit.buffers())]
    first = next(tensor for tensor in weights if tensor.is_floating_point())
    x = torch.zeros(2, *shape, dtype=first.dtype, device=first.device)
    known = {_storage(tensor) for tensor in (*weights, x)}
    kept: list[Kept] = []
    alive: list[Tensor] = []  # so that no storage takes the place of another

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in known:
            kept[-1][_storage(tensor)] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        for unit in units:
            kept.append({})
            x = unit.train()(x)
    return kept


def even_ends(kept: Sequence[Mapping[int, int]], count: int) -> list[int]:
    """Behind how many units each block ends, so that the largest block keeps as few bytes as can
    be; of several such ways the one with the least sum of squares.

    Args:
        kept: bytes by storage, unit by unit; a block keeps a storage of several units once.
        count: of blocks, 1 to the number of units.
    """
    sizes = block_bytes(kept)
    largest, _ = _divide(sizes, len(kept), count, max)
    _, ends = _divide(sizes, len(kept), count, lambda so_far, own: so_far + own**2, largest)
    return list(ends)


def block_bytes(kept: Sequence[Mapping[int, int]]) -> dict[tuple[int, int], int]:
    """Of the block of units `begin` to `end - 1`, for all that there can be."""
    sizes: dict[tuple[int, int], int] = {}
    for begin in range(len(kept)):
        total, seen = 0, set[int]()
        for end in range(begin, len(kept)):
            total += sum(size for name, size in kept[end].items() if name not in seen)
            seen.update(kept[end])
            sizes[begin, end + 1] = total
    return sizes


def _divide(
    sizes: Mapping[tuple[int, int], int],
    units: int,
    count: int,
    join: Callable[[int, int], int],
    most: float = math.inf,
) -> tuple[int, tuple[int, ...]]:
    """The least value over all divisions whose blocks are at most `most`, and the ends of one that
    has it; `join` takes a block into the value of those before it."""
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for _ in range(count):
        found: dict[int, tuple[int, tuple[int, ...]]] = {}
        for (begin, end), size in sizes.items():
            if begin in best and size <= most:
                value, ends = best[begin]
                own = (join(value, size), (*ends, end))
                found[end] = min(found.get(end, own), own)
        best = found
    return best[units]


def _units(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The stem goes with the first."""
    first = 1 + (pieces[0].spec.name == "stem")
    return [list(pieces[:first]), *([piece] for piece in pieces[first:])]


def _stage(unit: Sequence[Piece]) -> Stage:
    modules = OrderedDict(named for piece in unit for named in piece.modules)
    return Stage(unit[-1].spec, modules)


def _count_of(blocks: str) -> int:
    found = BALANCED.fullmatch(blocks)
    if found:
        return int(found[1])
    if blocks.startswith("balanced"):
        raise UserError(
            f"model.blocks: {blocks} does not say how many blocks; write balanced:4 for four"
        )
    near = get_close_matches(blocks, WORDS, n=1)
    raise UserError(
        f"model.blocks: should be one of {', '.join(WORDS)}, balanced:N or a whole number or a "
        f"list, got {blocks}{f'; did you mean {near[0]}?' if near else ''}"
    )


def _shape_of_sample(
    backbone: nn.Module, small_stem: bool, patches: Patches | None
) -> tuple[int, ...]:
    takes = input_of(backbone.modules())
    if takes.shape is not None:
        return takes.shape
    if takes.kind == "sound":
        return (takes.channels, WINDOW)
    default: Any = getattr(backbone, "default_cfg", None) or {}
    small = small_stem or "input_size" not in default
    size = (SMALL_IMAGE, SMALL_IMAGE) if small else tuple(default["input_size"][1:])
    return (takes.channels, *((patches.size,) * 2 if patches else size))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
