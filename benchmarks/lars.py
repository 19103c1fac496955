"""A step of LARS on weights of the size of ResNet-50 with a projector a block, and on many small
ones.

Baseline: the formula one parameter at a time, which the tests of LARS use too. Both ways take turns
in one process.
"""

import argparse

import timm
import torch
from torch import Tensor

from benchmarks.rows import Row, in_turns, run_rows
from blocklearn import LARS


def plain_step(
    params: list[Tensor],
    momenta: list[Tensor],
    lr: float,
    momentum: float,
    eta: float,
    decay: float,
) -> None:
    with torch.no_grad():
        for param, buffer in zip(params, momenta, strict=True):
            update = param.grad.clone()
            if param.ndim > 1:
                update += decay * param
                weight_norm, update_norm = param.norm(), update.norm()
                if weight_norm > 0 and update_norm > 0:
                    update *= eta * weight_norm / update_norm
            buffer.mul_(momentum).add_(update)
            param -= lr * buffer


def parameters(shapes: list[tuple[int, ...]], device: str) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    params = [
        torch.randn(shape, generator=generator, device=device).requires_grad_() for shape in shapes
    ]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator, device=device)
    return params


def measure(settings: argparse.Namespace) -> list[Row]:
    backbone = timm.create_model(settings.backbone, num_classes=0)
    shapes = [tuple(param.shape) for param in backbone.parameters()]
    wide = settings.width
    sizes = {
        "LARS step": (
            "backbone and a projector",
            [*shapes, (wide, 2048), (wide, wide), (wide, wide)],
            0.5,
        ),
        "LARS step, small": ("weights of 4,096 numbers", [(64, 64)] * 300, None),
        "LARS step, large": ("a projector alone", [(wide, 2048), (wide, wide), (wide, wide)], None),
    }
    rows: list[Row] = []
    for name, (what, own, target) in sizes.items():
        fast, slow = parameters(own, settings.device), parameters(own, settings.device)
        momenta = [torch.zeros_like(param) for param in slow]
        optimizer = LARS(fast, lr=0.2, momentum=0.9, eta=0.001, weight_decay=1e-6)

        def finished(step: object) -> None:
            if settings.device == "cuda":
                torch.cuda.synchronize()

        ways = {
            "ours": lambda optimizer=optimizer: finished(optimizer.step()),
            "plain": lambda slow=slow, momenta=momenta: finished(
                plain_step(slow, momenta, 0.2, 0.9, 0.001, 1e-6)
            ),
        }
        seconds = in_turns(ways, settings.turns)
        numbers = sum(param.numel() for param in fast)
        label = f"{what}, {len(own)} tensors, {numbers / 1e6:.1f}M numbers"
        rows.append(Row(name, label, "plain loop", "s", seconds["ours"], seconds["plain"], target))
    return rows


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=9)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--width", type=int, default=2048, help="of the projector")
    parser.add_argument("--device", default="cpu")


if __name__ == "__main__":
    run_rows(measure, __doc__, {"backbone": "resnet18"}, more_arguments)
