"""What an update is made of that waits for the next batch: state, like weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blocklearn.distributed.collectives import gather_on_first
from blocklearn.errors import UserError
from blocklearn.training.contract import LocalBlock

UNFINISHED = "blocklearn_unfinished"  # the checkpoint's key
Beside = list[tuple[Tensor, Tensor]]  # values now, and as they were
Kept = dict[str, Beside]


def unfinished(blocks: Sequence[LocalBlock], kept: Kept) -> list[dict[str, Any]]:
    """What waits in each process, in rank order: gradients, by block and parameter, and the values
    of running statistics before batches that may be dropped. Empty between two updates, and on all
    processes but the first.

    Every process must call it.
    """
    gradients = {block.name: _gradients(block) for block in blocks}
    if not any(gradients.values()):
        return []
    before = {name: [value.cpu() for _, value in pairs] for name, pairs in kept.items()}
    return gather_on_first({"gradients": gradients, "buffers": before})


def put_unfinished(
    blocks: Sequence[LocalBlock], waiting: Sequence[Mapping[str, Any]], rank: int
) -> Kept:
    """Give a process its gradients back; returns its running statistics as they were, beside those
    that are.

    Raises:
        UserError: where they are those of another number of processes, or of another network.
    """
    if not waiting:
        return {}
    try:
        gradients, before = waiting[rank]["gradients"], waiting[rank]["buffers"]
        for block in blocks:
            _put_gradients(dict(block.named_parameters()), gradients[block.name])
        return {
            block.name: _beside(block, before[block.name])
            for block in blocks
            if block.name in before
        }
    except (AttributeError, KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            "resume: the checkpoint was taken between two accumulated batches, and the gradients "
            f"that wait in it do not fit ({type(error).__name__}: {error}); go on with the same "
            "network and as many processes"
        ) from error


def _gradients(block: LocalBlock) -> dict[str, Tensor]:
    return {
        name: p.grad.detach().cpu()
        for name, p in block.named_parameters()
        if p.grad is not None and not p.is_meta  # another process has it
    }


def _put_gradients(parameters: Mapping[str, nn.Parameter], gradients: Mapping[str, Tensor]) -> None:
    for name, gradient in gradients.items():
        parameter = parameters[name]
        if parameter.is_meta:
            continue
        # in the parameter's own order in memory
        parameter.grad = torch.empty_like(parameter).copy_(gradient)


def _beside(block: LocalBlock, values: Sequence[Tensor]) -> Beside:
    return [
        (now, before.to(now.device))
        for now, before in zip(block.buffers(), values, strict=True)
        if not now.is_meta
    ]
