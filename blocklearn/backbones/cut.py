"""Cut a backbone into stages, and group the stages into blocks."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Literal

from torch import nn

from blocklearn.backbones.families import Piece, pieces_of
from blocklearn.backbones.patches import CutPatches, Patches
from blocklearn.backbones.stage import Stage, StageSpec
from blocklearn.errors import UserError

Grouping = Literal["per_stage", "per_unit", "end_to_end"] | int | list[list[str]]


def cut_backbone(
    backbone: nn.Module, blocks: Grouping = "per_stage", patches: Patches | None = None
) -> list[Stage]:
    """Cut a backbone into the stages that a grouping names, or into its own. The modules are moved,
    not copied, and no image is pushed through: widths and strides are the backbone's own.

    A stage is named by its last module. What lies before the first name belongs to the first stage,
    the stem too, unless `stem` is named; what lies between two names belongs to the second. All of
    the family's own stages must be named.

    Composed, the stages equal the backbone's `forward_features`, of every patch where images are
    cut into patches.

    Args:
        backbone: from `create_backbone`.
        blocks: as for `group_stages`.
        patches: where given, images are cut at the entrance of the first stage, and all features
            are those of patches.

    Raises:
        UserError: for a backbone of a family that cannot be cut, and for a name where no cut can
            fall.
    """
    pieces = pieces_of(backbone)
    ends = _ends(pieces, blocks)
    stages: list[Stage] = []
    pending: OrderedDict[str, nn.Module] = OrderedDict()
    parts: list[tuple[StageSpec, int]] = []
    if patches:
        pending["patches"] = CutPatches(patches)
        pieces = [
            piece._replace(spec=replace(piece.spec, patch_grid=patches.grid)) for piece in pieces
        ]
    units = 0
    for piece in pieces:
        pending.update(piece.modules)
        parts.append((piece.spec, len(pending)))
        units += piece.spec.name != "stem"
        if piece.spec.name in ends:
            stages.append(Stage(piece.spec, pending, units, parts))
            pending, units, parts = OrderedDict(), 0, []
    return stages


def group_stages(
    names: Sequence[str], blocks: Grouping, units: Sequence[int] | None = None
) -> list[list[int]]:
    """Positions of the stages of each block.

    Args:
        names: of the stages, in order.
        blocks: `per_stage` and `per_unit` (one block a stage, or a residual unit), `end_to_end`
            (one block of all), a number of blocks of equally many units, or stage names block by
            block: `[[layer1], [layer2], [layer3,
            layer4]]`. A block may begin with the last stages of the one before, which both then
            train (LoCo, arXiv 2008.01342): `[[layer1, layer2], [layer2, layer3], [layer3,
            layer4]]`. An empty block, `[]`, has an objective and no stage: it learns on the frozen
            output of the block before, such as an autoregressor or an online classifier.
        units: of each stage, for blocks by number; null for one each.

    Raises:
        UserError: unless the blocks cover the stages in order, each stage in one block or in two
            neighbours.
    """
    if isinstance(blocks, int):
        counts = list(accumulate(units or [1] * len(names)))
        ends = _equal(range(counts[-1]), blocks)
        owner = [bisect_left(ends, count) for count in counts]
        return [[n for n, own in enumerate(owner) if own == block] for block in range(blocks)]
    if blocks in ("per_stage", "per_unit"):
        return [[position] for position in range(len(names))]
    if blocks == "end_to_end":
        return [list(range(len(names)))]
    known = f"the backbone's stages are {', '.join(names)}"
    if not blocks or not blocks[0]:
        raise UserError(f"blocks: the first block may not be empty; got {blocks}, {known}")
    groups = [[names.index(name) for name in block] for block in blocks]
    reached = 0  # stages that the blocks so far have trained
    for before, group in zip([[], *groups], groups, strict=False):
        if not group:
            continue
        in_order = group == list(range(group[0], group[-1] + 1))
        shared = before and group[0] in before[1:]
        twice = len([other for other in groups if group[0] in other]) <= 2
        if not in_order or not (group[0] == reached or (shared and twice)) or group[-1] < reached:
            raise UserError(
                "blocks: every stage must be in one block, or shared by two neighbours, in order, "
                f"and a block must not be all shared; got {blocks}, {known}"
            )
        reached = group[-1] + 1
    return groups


def _ends(pieces: Sequence[Piece], blocks: Grouping) -> set[str]:
    if blocks == "per_unit":
        return {piece.spec.name for piece in pieces if piece.spec.name != "stem"}
    if isinstance(blocks, str | int):
        units = [piece.spec.name for piece in pieces if piece.spec.name != "stem"]
        own = {piece.spec.name for piece in pieces if piece.ends_stage}
        return (
            own if isinstance(blocks, str) else own | {units[n - 1] for n in _equal(units, blocks)}
        )
    listed = [name for block in blocks for name in block]
    names = [piece.spec.name for piece in pieces]
    stages = [piece.spec.name for piece in pieces if piece.ends_stage]
    for name in listed:
        if name not in names:
            finer = ", ".join(name for name in names if name not in stages)
            raise UserError(
                f"blocks: the backbone has no stage {name!r}; its stages are {', '.join(stages)}; "
                f"it can also be cut behind {finer}"
            )
    forgotten = [name for name in stages if name not in listed]
    if forgotten:
        raise UserError(
            f"blocks: every stage must be in one block; {', '.join(forgotten)} is in none, got "
            f"{blocks}"
        )
    return set(listed)


def _equal(units: Sequence[object], count: int) -> list[int]:
    """After how many units each of `count` blocks ends; where they do not divide, some blocks have
    one more."""
    if not 0 < count <= len(units):
        raise UserError(
            f"blocks: {count} blocks cannot be made of the {len(units)} units of this backbone; "
            f"give 1 to {len(units)}"
        )
    return [len(units) * (block + 1) // count for block in range(count)]
