"""One training step of every block on a device, and the same on the CPU by the slow, plain ways."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from small import small_batch, small_network
from torch import Tensor

from blocklearn import BarlowTwins, Batch, BlockwiseModule, ExpandPooling, JointEmbedding, Projector
from blocklearn.training.contract import Carried, Clock


class Step(NamedTuple):
    """Attributes:
    losses: by block.
    gradients: by parameter.
    statistics: the buffers after it, by name.
    """

    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]
    statistics: dict[str, Tensor]


def objective(fast: bool) -> Any:
    """Fused expansion and Gram matrices, or the expanded map and the matrix as they are written."""
    return partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=64, fused=fast),
        projector=partial(Projector, widths=[24, 24]),
        criterion=partial(BarlowTwins, scale=0.1, form="gram" if fast else "matrix"),
    )


def step_on(
    device: torch.device,
    dtype: torch.dtype = torch.float64,
    fast: bool = True,
    bf16: bool = False,
    **changes: Any,
) -> Step:
    """A step from weights that are the same whatever the arguments."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"recompute": "cheap" if fast else "nothing", **changes}
    network = small_network(objective=objective(fast), **settings).to(device, dtype)
    network.train()
    return step_of(network, on(small_batch(8), device, dtype), bf16)


def on(batch: Batch, device: torch.device, dtype: torch.dtype = torch.float32) -> Batch:
    views = [view.to(device, dtype) for view in batch.views]
    return Batch(views, batch.label.to(device), batch.index.to(device))


def step_of(network: BlockwiseModule, batch: Batch, bf16: bool = False) -> Step:
    carried, losses = Carried(batch.views), {}
    for block in network.walked:
        with torch.autocast(batch.views[0].device.type, torch.bfloat16, enabled=bf16):
            output = block.local_step(carried, batch, Clock(3, 10, seed=1))
        output.loss.backward()
        losses[block.name], carried = output.loss.detach().cpu(), output.carried
    gradients = {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}
    assert gradients.keys() == dict(network.named_parameters()).keys()
    return Step(losses, gradients, {name: b.cpu() for name, b in network.named_buffers()})


def assert_same(found: Step, expected: Step, allowed: float) -> None:
    """To a relative error, of a gradient as a whole."""
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, tensor in other.items():
            error = float((one[name].double() - tensor.double()).norm())
            # of a weight in front of a BatchNorm's shift nothing but rounding is left
            size = float(tensor.double().norm()) + 1e-3
            assert error <= allowed * size, (name, error / size)


@contextmanager
def no_tf32() -> Iterator[None]:
    """Float32 in its whole width; a GPU's convolutions take 10 bits of it otherwise."""
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = kept
