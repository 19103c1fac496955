"""Barlow Twins and VICReg by `(B, B)` Gram matrices against their `(D, D)` matrix: time, and memory
beyond the embeddings.

Baseline: the same criterion with `form=matrix`. Times alternate in one process. Memory is the
growth of a process' peak resident size over one forward and backward, each in a process of its own,
since a peak never falls; on a GPU (`--device cuda`) the peak of what tensors hold there. Where
lightly is installed, its Barlow Twins is a second baseline.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable

import torch

from benchmarks.peak import peak, peak_megabytes, start_of_peak
from benchmarks.rows import Row, in_turns, run_rows
from benchmarks.together import wait_for
from blocklearn import BarlowTwins, VICReg
from blocklearn.criteria.criterion import Criterion

CRITERIA: dict[str, Callable[..., Criterion]] = {"Barlow Twins": BarlowTwins, "VICReg": VICReg}


def embeddings(settings: argparse.Namespace) -> list[torch.Tensor]:
    """Two views that agree in part, as embeddings do in training."""
    generator = torch.Generator().manual_seed(0)
    shared, *own = (
        torch.randn(settings.batch_size, settings.width, generator=generator) for _ in range(3)
    )
    return [(shared + view).to(settings.device).requires_grad_() for view in own]


def there_and_back(criterion: Criterion, views: list[torch.Tensor]) -> None:
    torch.autograd.grad(criterion(views).loss, views)
    wait_for(views[0].device)


def peak_growth(name: str, form: str, settings: argparse.Namespace) -> float:
    """In MB, in this process."""
    criterion = CRITERIA[name](form=form)
    # what torch itself needs
    few = [torch.randn(4, 8, device=settings.device).requires_grad_() for _ in range(2)]
    there_and_back(criterion, few)
    views = embeddings(settings)
    if settings.device == "cuda":
        before = start_of_peak(views[0].device)
        there_and_back(criterion, views)
        return peak(views[0].device) - before
    before = peak_megabytes()
    there_and_back(criterion, views)
    return peak_megabytes() - before


def peak_growth_elsewhere(name: str, form: str, settings: argparse.Namespace) -> float:
    if settings.device == "cuda":  # whose peak begins anew when asked to
        return peak_growth(name, form, settings)
    sizes = ["--batch_size", str(settings.batch_size), "--width", str(settings.width)]
    command = [sys.executable, "-m", "benchmarks.barlow", *sizes, "--peak_of", name, form]
    return float(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[
            -1
        ]
    )


def measure(settings: argparse.Namespace) -> list[Row]:
    sizes = {"batch_size": settings.batch_size, "width": settings.width, "dtype": "float32"}
    sizes["device"] = settings.device
    views = embeddings(settings)
    rows: list[Row] = []
    for name, make in CRITERIA.items():
        judged = name == "Barlow Twins"
        row, what = (
            "P5" if judged else "P5 VICReg",
            f"{name}, there and back, B {settings.batch_size}, D {settings.width}",
        )
        ways = {form: make(form=form) for form in ("gram", "matrix")}
        seconds = in_turns(
            {form: lambda way=way: there_and_back(way, views) for form, way in ways.items()},
            settings.turns,
        )
        target = 0.15 if judged else None
        rows.append(
            Row(
                f"{row} time",
                what,
                "form=matrix",
                "s",
                seconds["gram"],
                seconds["matrix"],
                target,
                notes=sizes,
            )
        )
        ours, theirs = (
            [peak_growth_elsewhere(name, form, settings) for _ in range(min(settings.turns, 2))]
            for form in ("gram", "matrix")
        )
        target = 0.1 if judged else None
        rows.append(
            Row(f"{row} memory", what, "form=matrix", "MB", ours, theirs, target, notes=sizes)
        )
    return [*rows, *peer_rows(views, settings)]


def peer_rows(views: list[torch.Tensor], settings: argparse.Namespace) -> list[Row]:
    try:
        from lightly.loss import BarlowTwinsLoss  # pyright: ignore[reportMissingImports]
    except ImportError:
        return []
    peer, ours = BarlowTwinsLoss(lambda_param=0.0051), BarlowTwins(lambd=0.0051, scale=1.0)
    losses = float(ours(*views).loss), float(peer(*views))
    ways = {
        "ours": lambda: there_and_back(ours, views),
        "peer": lambda: torch.autograd.grad(peer(*views), views),
    }
    seconds = in_turns(ways, settings.turns)
    what = f"Barlow Twins, there and back, B {settings.batch_size}, D {settings.width}"
    notes = {"losses": losses}
    return [
        Row(
            "P5 peer",
            what,
            "lightly.BarlowTwinsLoss",
            "s",
            seconds["ours"],
            seconds["peer"],
            notes=notes,
        )
    ]


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=5)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--peak_of", nargs=2, metavar=("CRITERION", "FORM"), help=argparse.SUPPRESS)


def in_one_process(settings: argparse.Namespace) -> bool:
    """Whether this is the process of one peak; it prints it."""
    if settings.peak_of:
        print(peak_growth(*settings.peak_of, settings))
    return bool(settings.peak_of)


if __name__ == "__main__":
    run_rows(measure, __doc__, {"batch_size": 64, "width": 1024}, more_arguments, in_one_process)
