"""Small networks, data and trainers for the tests."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from blocklearn import BarlowTwins, Batch, BlockwiseModule, ExpandPooling, JointEmbedding, Projector
from blocklearn.blocks.settings import BlockSettings, NetworkOptions, UpdateOptions
from blocklearn.data import Synthetic

NARROW = (  # of a command: a network of the digits' kind that trains in a moment
    "--model.network.backbone_kwargs={layers: [1,1,1,1], channels: [8,8,8,8]}",
    "--model.objective.pooling.width=16",
    "--model.objective.projector.widths=[16,16]",
)
OBJECTIVE = partial(
    JointEmbedding,
    pooling=partial(ExpandPooling, width=24),
    projector=partial(Projector, widths=[16, 16]),
    criterion=partial(BarlowTwins, scale=0.1),
)


def small_network(**changes: Any) -> BlockwiseModule:
    """A ResNet with one narrow residual unit per stage."""
    settings: dict[str, Any] = {
        "objective": OBJECTIVE,
        "backbone": "resnet18",
        "backbone_kwargs": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]},
    }
    return network(**{**settings, **changes})


def network(*args: Any, **changes: Any) -> BlockwiseModule:
    """A `BlockwiseModule`, with what belongs into its groups of options named beside them."""
    for group, kind in (("network", NetworkOptions), ("update", UpdateOptions)):
        names = {entry.name for entry in fields(kind)} & changes.keys()
        if names:
            changes[group] = kind(**{name: changes.pop(name) for name in sorted(names)})
    return BlockwiseModule(*args, **changes)


def per_block(**lists: Any) -> dict[str, BlockSettings]:
    """Settings of blocks from one entry per block, None for what is shared."""
    count = len(next(iter(lists.values())))
    return {
        f"block{block + 1}": BlockSettings(
            **{
                name: entries[block]
                for name, entries in lists.items()
                if entries[block] is not None
            }
        )
        for block in range(count)
    }


def small_batch(size: int = 6, pixels: int = 32, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    views = [
        torch.randn(size, 3, pixels, pixels, generator=generator, dtype=dtype) for _ in range(2)
    ]
    return Batch(views, torch.arange(size) % 3, torch.arange(size))


def small_data(**changes: Any) -> Synthetic:
    return Synthetic(**{"batch_size": 8, "image_size": 32, "num_images": 32, **changes})


def small_trainer(folder: Path, **changes: Any) -> Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "default_root_dir": folder,
    }
    return Trainer(**{**settings, **changes})


class StopAt(Callback):
    """Saves in mid-epoch, then dies."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise RuntimeError("killed")


def assert_same_value_and_gradient(
    fast: Tensor,
    slow: Tensor,
    leaves: Sequence[Tensor],
    value: tuple[float, float] = (1e-10, 1e-12),
    gradient: tuple[float, float] = (1e-8, 1e-12),
) -> None:
    """A computation and its plain reference, to (relative, absolute) tolerances; what is no scalar
    is weighted."""
    torch.testing.assert_close(fast, slow, rtol=value[0], atol=value[1])
    weight = torch.randn_like(fast) if fast.ndim else torch.ones_like(fast)
    first, second = (torch.autograd.grad((out * weight).sum(), leaves) for out in (fast, slow))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=gradient[0], atol=gradient[1])


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
