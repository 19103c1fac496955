"""Activation checkpointing: what a block computes again in its backward pass rather than keeps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from blocklearn.backbones.stage import Stage
from blocklearn.backbones.visible_tokens import VisibleTokens

Recompute = Literal["nothing", "cheap", "views", "units"]
Step = Callable[[Tensor], Tensor]


def run(
    stages: Sequence[Stage],
    x: Tensor,
    noise: Step | None = None,
    *,
    recompute: Recompute,
    last_view: bool,
    visible: Tensor | None = None,
) -> Tensor:
    """`x` through stages and noise, with a graph that keeps less. Values and gradients are the
    same.

    Args:
        stages: in order.
        x: of one view.
        noise: behind them.
        recompute: `nothing`; `cheap`: a stem that ends in a pooling, as a ResNet's, whose maps are
            the largest of all and whose products are few; `views`: that, and all of every view but
            the last, so that one view's graph exists at a time; `units`: every residual unit.
        last_view: whether it is the last.
        visible: positions of the tokens that are seen; null for all.
    """
    if not torch.is_grad_enabled() or recompute == "nothing":
        return _in_turn([*stages, noise] if noise else stages, x, visible)
    steps: list[Step] = [partial(_run_stage, stage, recompute, visible) for stage in stages]
    steps += [noise] if noise else []
    return (
        _again(steps, x, stages) if recompute == "views" and not last_view else _in_turn(steps, x)
    )


def _run_stage(stage: Stage, recompute: Recompute, visible: Tensor | None, x: Tensor) -> Tensor:
    if stage.compiled:  # the compiler weighs by itself what to keep
        units = recompute == "units"
        return _again([stage], x, [stage], visible) if units else stage(x, visible)
    for layers, again in _units(stage) if recompute == "units" else _cheap_runs(stage):
        x = _again(layers, x, layers, visible) if again else _in_turn(layers, x, visible)
    return x


def _again(
    steps: Sequence[Step],
    x: Tensor,
    owners: Sequence[nn.Module],
    visible: Tensor | None = None,
) -> Tensor:
    """One step after the other, and once more in the backward pass, with the same draws. The
    owners' buffers take a batch in once."""
    return checkpoint(
        _in_turn,
        steps,
        x,
        visible,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _buffers_aside(owners)),
    )  # pyright: ignore[reportReturnType]


def _in_turn(modules: Sequence[Step], x: Tensor, visible: Tensor | None = None) -> Tensor:
    for module in modules:
        x = module(x, visible) if isinstance(module, (Stage, VisibleTokens)) else module(x)
    return x


def _units(stage: Stage) -> Iterator[tuple[list[nn.Module], bool]]:
    """Every module with parts of its own by itself, and the single layers between them together."""
    layers: list[nn.Module] = []
    for module in stage:
        if not len(list(module.children())):
            layers.append(module)
            continue
        if layers:
            yield layers, True
        yield [module], True
        layers = []
    if layers:
        yield layers, True


def _cheap_runs(stage: Stage) -> Iterator[tuple[list[nn.Module], bool]]:
    """Runs of layers with few products that end in a pooling, and all others one by one. Where the
    first writes into its input, as a ReLU behind a convolution does, it cannot be run again."""
    run: list[nn.Module] = []
    for module in stage:
        run.append(module)
        if _pools(module) and len(run) > 1:
            yield run, not getattr(run[0], "inplace", False)
            run = []
        elif not _is_cheap(module):
            yield run, False
            run = []
    if run:
        yield run, False


def _pools(module: nn.Module) -> bool:
    return "Pool" in type(module).__name__ and _is_cheap(module)


def _is_cheap(module: nn.Module) -> bool:
    """Without products, but for a convolution of the image itself."""
    parts = [part for part in module.modules() if list(part.parameters(recurse=False))]
    return all(
        isinstance(part, _BatchNorm) or (isinstance(part, nn.Conv2d) and part.in_channels <= 4)
        for part in parts
    )


@contextmanager
def _buffers_aside(owners: Sequence[nn.Module]) -> Iterator[None]:
    """The second pass writes into copies."""
    owned = [
        (part, name, buffer)
        for owner in owners
        for part in owner.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    for part, name, buffer in owned:
        setattr(part, name, buffer.clone())
    try:
        yield
    finally:
        for part, name, buffer in owned:
            setattr(part, name, buffer)
