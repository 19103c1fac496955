"""`python -m benchmarks.scale_model`: what training on 8, 64 and 512 devices would cost, on paper.

Nothing is timed and nothing is trained. Floating-point operations and bytes are counted
(`benchmarks.scale_counts`); how fast devices and links are is assumed, and every assumption is a
flag. Four ways share a global batch among the devices:

- `end to end, data`: one block, gradients averaged over all devices.
- `blockwise, data`: `blockwise_ddp`; a block's averaging runs beside the next block.
- `blockwise, block x data`: `block_parallel` with `data_parallel`.
- `end to end, pipeline x data`: 1F1B over the same cuts, with its bubble (p - 1) / (m + p - 1).
"""

import argparse
from collections.abc import Sequence
from itertools import groupby

import torch

from benchmarks.link import measured_link
from benchmarks.scale_counts import Piece, count_blocks, count_stages
from benchmarks.scale_ways import Cost, Machines, block_parallel, data, end_to_end_data, pipeline

NETWORKS = {  # backbone, blocks, optimizer's numbers a weight (LARS: momentum; AdamW: two)
    "ResNet-50, 4 blocks": ("resnet50", "per_stage", 1),
    "ViT-L/16, 4 blocks": ("vit_large_patch16_224", "per_stage", 2),
    "ViT-L/16, 24 blocks": ("vit_large_patch16_224", "per_unit", 2),
}


def costs(
    blocks: Sequence[Piece],
    stages: Sequence[Piece],
    states: int,
    devices: int,
    settings: argparse.Namespace,
    machines: Machines,
) -> list[Cost]:
    batch = settings.batch
    places = min(len(blocks), settings.places)
    common = batch, devices, states, machines
    return [
        end_to_end_data(stages, *common),
        data("blockwise, data", blocks, *common),
        block_parallel(blocks, places, *common),
        pipeline(stages, places, *common, most=4 * places),
    ]


# fmt: off
HEAD = [
    "devices", "places x data", "border, MB a step", "all-reduce, MB", "memory a rank, GB",
    "efficiency", "pairs/s", "note",
]
# fmt: on


def table(name: str, by_devices: dict[int, list[Cost]], batch: int) -> str:
    lines = ["| " + " | ".join([name, *HEAD]) + " |", "|" + "---|" * (1 + len(HEAD))]
    for devices, listed in by_devices.items():
        for cost in listed:
            cells = [
                cost.way,
                str(devices),
                " x ".join(map(str, cost.mesh)),
                f"{cost.border / 1e6:,.0f}" if cost.border else "-",
                f"{cost.averaged / 1e6:,.0f}" if cost.averaged else "-",
                f"{cost.memory / 1e9:.1f}",
                f"{cost.efficiency:.2f}",
                f"{batch / cost.seconds:,.0f}",
                cost.note,
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def block_table(pieces: Sequence[Piece]) -> str:
    """What was counted; blocks alike share a row."""
    lines = ["| block | GFLOP a pair | MB handed on a pair | MB of gradients | MB held a pair |"]
    lines.append("|" + "---|" * 5)

    def cells(piece: Piece) -> tuple[str, ...]:
        return (
            f"{piece.flops.per_sample / 1e9:.1f}",
            f"{piece.handed_on.per_sample / 1e6:.2f}",
            f"{piece.weights / 1e6:.0f}",
            f"{piece.held.per_sample / 1e6:.1f}",
        )

    for row, alike in groupby(enumerate(pieces, 1), lambda numbered: cells(numbered[1])):
        numbers = [number for number, _ in alike]
        name = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        lines.append("| " + " | ".join([name, *row]) + " |")
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--devices", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--batch", type=int, default=2048, help="global, in pairs of views")
    parser.add_argument("--places", type=int, default=8, help="most in a chain")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--width", type=int, default=8192, help="of every projector's layers")
    parser.add_argument(
        "--device_tflops",
        type=float,
        default=23.0,
        help="from 938 images/s of supervised ResNet-50 on one A100 with TF32 "
        "(NVIDIA DeepLearningExamples) and 24.5 GFLOP an image",
    )
    parser.add_argument("--devices_per_node", type=int, default=8, help="assumed")
    parser.add_argument("--intra_gbs", type=float, default=250.0, help="GB/s a device, assumed")
    parser.add_argument("--inter_gbs", type=float, default=25.0, help="GB/s a node, assumed")
    parser.add_argument("--latency_us", type=float, default=10.0, help="of a message, assumed")
    parser.add_argument(
        "--measure_link",
        action="store_true",
        help="measure gloo between two processes of this machine instead, and end",
    )
    return parser


def main() -> None:
    settings = arguments().parse_args()
    if settings.measure_link:
        print(measured_link())
        return
    machines = Machines(
        settings.device_tflops * 1e12,
        settings.devices_per_node,
        settings.intra_gbs * 1e9,
        settings.inter_gbs * 1e9,
        settings.latency_us * 1e-6,
    )
    print(f"counted: operations and bytes, fp32. assumed: {machines}")
    for name in settings.networks:
        backbone, blocks, states = NETWORKS[name]
        case = argparse.Namespace(
            **vars(settings),
            backbone=backbone,
            blocks=blocks,
            noise=True,
            channels_last=False,
            compile=False,
        )
        pieces, stages = count_blocks(case), count_stages(case)
        rows = {n: costs(pieces, stages, states, n, settings, machines) for n in settings.devices}
        print(f"\n{name}\n\n{block_table(pieces)}\n\n{table('way', rows, settings.batch)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
