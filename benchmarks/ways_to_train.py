"""The ways of training that are compared: end to end, blockwise as published codes do it, and
blocklearn's."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from blocklearn import (
    LARS,
    BarlowTwins,
    Batch,
    BlockwiseModule,
    ExpandPooling,
    GlobalPooling,
    JointEmbedding,
    Projector,
    TwoLayerPooling,
)
from blocklearn.blocks.settings import BlockSettings, NetworkOptions
from blocklearn.training.contract import Carried, Clock
from blocklearn.training.update_rule import UpdateRule

BASELINE, PLAIN, OURS = "end to end", "plain codes", "blocklearn"
VIEWS, UNITS = "blocklearn, recompute views", "blocklearn, recompute units"
LEAN = "blocklearn, lean recipe"
COMPILED = "end to end, compiled"  # beside what --compile compiles; for `benchmarks.step` alone
RECOMPUTE = {OURS: "cheap", VIEWS: "views", UNITS: "units", LEAN: "cheap"}
WAYS = (BASELINE, PLAIN, *RECOMPUTE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--width", type=int, default=1024, help="of the projector")
    parser.add_argument("--blocks", default="per_stage", choices=("per_stage", "per_unit"))
    parser.add_argument("--noise", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--channels_last", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=list(WAYS),
        help="the baseline must be among them",
    )


SMALL_LARS = partial(LARS, lr=1e-4)


def build(way: str, settings: argparse.Namespace, optimizer: Any = SMALL_LARS) -> BlockwiseModule:
    """End to end is plain PyTorch behind a global average: nothing fused, nothing computed again.
    Blockwise is the published recipe (arXiv 2302.01647): noise, 1x1 expansion to 2048 at every
    block; `plain codes` with plain pooling and the DxD matrix; the lean recipe as in
    `bt_blockwise_lean.yaml`."""
    whole = way in (BASELINE, COMPILED)
    pooling: Any = partial(ExpandPooling, width=2048, fused=way != PLAIN)
    if whole or way == LEAN:
        pooling = GlobalPooling if whole else partial(TwoLayerPooling, width=2048)
    criterion = BarlowTwins(form="matrix" if whole or way == PLAIN else "auto")
    projector = partial(Projector, widths=[settings.width] * 3)
    return BlockwiseModule(
        partial(JointEmbedding, pooling=pooling, projector=projector, criterion=criterion),
        settings.backbone,
        "end_to_end" if whole else settings.blocks,
        noise="all" if settings.noise and not whole else "none",
        optimizer=optimizer,
        per_block=_smaller_in_front(settings.width) if way == LEAN else None,
        recompute=RECOMPUTE.get(way, "nothing"),  # pyright: ignore
        network=NetworkOptions(
            channels_last=settings.channels_last,
            compile=settings.compile and way not in (BASELINE, PLAIN),
        ),
    )


def _smaller_in_front(width: int) -> dict[str, BlockSettings]:
    """Projectors of a quarter and half the width on the first two blocks."""
    return {
        f"block{number}": BlockSettings(projector=partial(Projector, widths=[width // part] * 3))
        for number, part in ((1, 4), (2, 2))
    }


def build_optimizers(network: BlockwiseModule) -> list[torch.optim.Optimizer]:
    """With their state, so that a peak does not count it."""
    optimizers = [
        network.rule.build_optimizer(block.parameters(), None) for block in network.walked
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        UpdateRule.apply(network.rule, optimizer)
    return optimizers


def random_batch(
    settings: argparse.Namespace, size: int, pixels: int, device: torch.device | str = "cpu"
) -> Batch:
    views = [torch.randn(size, 3, pixels, pixels, device=device) for _ in range(2)]
    if settings.channels_last:
        views = [view.contiguous(memory_format=torch.channels_last) for view in views]
    nothing = torch.zeros(size, device=device)
    return Batch(views, nothing, nothing)


def one_step(
    network: BlockwiseModule,
    optimizers: Sequence[torch.optim.Optimizer],
    batch: Batch,
    step: int,
    keep_graphs: bool,
    bf16: bool = False,
) -> None:
    """The walk as `LightningWalk.training_step` makes it, without a trainer; or all forwards first,
    and one backward."""
    carried, losses = Carried(batch.views), []
    for block, optimizer in zip(network.walked, optimizers, strict=True):
        with torch.autocast(batch.index.device.type, torch.bfloat16, enabled=bf16):
            output = block.local_step(carried, batch, Clock(step))
        if keep_graphs:
            losses.append(output.loss)
        else:
            output.loss.backward()
            network.rule.apply(optimizer)
        carried = output.carried
    if keep_graphs:
        torch.stack(losses).sum().backward()
        for optimizer in optimizers:
            network.rule.apply(optimizer)
