"""Blocks whose parameters, gradients and optimizer states are divided among processes (FSDP2)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from blocklearn.errors import UserError

COMPUTING = ("local_step", "pass_on", "forward")


def shard(block: Any, mesh: DeviceMesh) -> None:
    """Divide a block's parameters among the processes of a mesh of one axis. They are whole while
    the block computes, and no other block's are; gradients are averaged as they are divided.

    Raises:
        UserError: for a block that shares a stage with another.
    """
    if block.lends or block.borrowed:
        raise UserError(
            f"trainer.strategy: shard cannot divide {block.name}, which shares a stage with "
            "another block: leave it out, or take blocks that share none"
        )
    fully_shard(block, mesh=mesh, reshard_after_forward=True)
    for method in COMPUTING:
        register_fsdp_forward_method(block, method)


def whole(value: Any) -> Any:
    """The same with whole tensors in place of divided ones; every process must call it."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {name: whole(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(whole(inner) for inner in value)
    return value


def divided_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's whole state, divided as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        **state,
        "state": {
            number: {name: _divided_as(parameters[number], value) for name, value in kept.items()}
            for number, kept in state["state"].items()
        },
    }


def _divided_as(parameter: Tensor, value: Any) -> Any:
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:  # a counter
        return value
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements
    )
