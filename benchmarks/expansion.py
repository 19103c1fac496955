"""`python -m benchmarks.expansion`: ways to compute the 1x1 expansion of `ExpandPooling` on a GPU:
convolution, BatchNorm, ReLU and mean over the positions, forward and backward.

Baseline: what the package does, chunk by chunk. Candidates: plain PyTorch; the same compiled; the
package's algebra with a compiled chunk; the package with TF32 products where it takes float32; and
a Triton kernel (`benchmarks/expansion_triton.py`), of whose tile sizes the fastest is taken. Value
and gradients of each, the package's too, are compared with float64 first; one that is further off
than plain PyTorch by more than a little is not timed, and counted in the row `expansion wrong`.

Nothing in the package changes until a GPU has spoken.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.expansion_pieces import Chunked, mean_by
from benchmarks.peak import peak, start_of_peak
from benchmarks.rows import Row, in_turns, run_rows
from benchmarks.together import memory_for, wait_for
from blocklearn.kernels.expanded_mean import expanded_mean

Mean = Callable[[Tensor, Tensor, _BatchNorm], Tensor]
PACKAGE, PLAIN, TRITON = "package", "plain", "triton"
CASES = {  # channels, and positions a side at 224 pixels; where the package takes its fused way
    "ResNet-50 layer1": (256, 56),
    "ResNet-50 layer2": (512, 28),
    "ResNet-18 layer1": (64, 56),
    "ResNet-18 layer3": (256, 14),
}


def plain(x: Tensor, weight: Tensor, norm: _BatchNorm) -> Tensor:
    return norm(nn.functional.conv2d(x, weight)).relu().mean((2, 3))


def with_tf32(x: Tensor, weight: Tensor, norm: _BatchNorm) -> Tensor:
    """Its backward pass runs behind it, so `run` keeps the switch on."""
    return expanded_mean(x, weight, norm)


def compiled(function: Any) -> Any:
    return torch.compile(function, dynamic=False)


def triton_kernel(case: "Case") -> Mean:
    from benchmarks.expansion_triton import TRIED, TritonPasses

    found: list[tuple[float, Mean]] = []
    for tiles in TRIED if case.device.type == "cuda" else TRIED[:1]:
        mean = mean_by(TritonPasses(tiles))
        try:
            case.run(mean)
            seconds = min(case.seconds(mean) for _ in range(3))
        except Exception as error:  # tiles that need more shared memory than this GPU has
            print(f"{TRITON}, {tiles}: {type(error).__name__}", file=sys.stderr, flush=True)
            continue
        print(f"{TRITON}, {tiles}: {seconds:.2e} s", file=sys.stderr, flush=True)
        found.append((seconds, mean))
    if not found:
        raise RuntimeError("no sizes of tiles ran")
    return min(found, key=lambda pair: pair[0])[1]


MAKERS: dict[str, Callable[["Case"], Mean]] = {
    PACKAGE: lambda case: expanded_mean,
    PLAIN: lambda case: plain,
    "plain, compiled": lambda case: compiled(plain),
    "compiled chunks": lambda case: mean_by(Chunked(compiled)),
    "package, TF32": lambda case: with_tf32,
    TRITON: triton_kernel,
}


class Case:
    """One expansion: a map, a weight, and a norm.

    Args:
        channels: of the map.
        side: positions a side.
        settings: of the benchmark.
        samples: of the map; null for the batch.
    """

    def __init__(
        self, channels: int, side: int, settings: argparse.Namespace, samples: int | None = None
    ) -> None:
        torch.manual_seed(0)
        self.device = torch.device(settings.device)
        self.low = torch.bfloat16 if settings.bf16 else torch.float32
        count = int(samples or settings.batch_size)
        x = torch.randn(count, channels, side, side, device=self.device).relu()
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.x = x.to(self.low).contiguous(memory_format=layout).requires_grad_()
        conv = nn.Conv2d(channels, settings.width, 1, bias=False).to(self.device)
        self.weight = conv.weight
        self.norm = nn.BatchNorm2d(settings.width).to(self.device)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.normal_(self.norm.bias)
        self.pull = torch.randn(count, settings.width, device=self.device)

    def run(self, mean: Mean) -> list[Tensor]:
        """Value, and gradients to map, weight, gamma and beta."""
        leaves = [self.x, self.weight, self.norm.weight, self.norm.bias]
        with tf32(mean is with_tf32):
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.low == torch.bfloat16
            ):
                y = mean(self.x, self.weight, self.norm)
            return [y.detach(), *torch.autograd.grad(y, leaves, self.pull.to(y.dtype))]

    def seconds(self, mean: Mean, times: int = 1) -> float:
        """Of one run."""
        wait_for(self.device)
        start = time.perf_counter()
        for _ in range(times):
            self.run(mean)
        wait_for(self.device)
        return (time.perf_counter() - start) / times

    def truth(self) -> list[Tensor]:
        """Of the same map, in float64."""
        exact = copy.copy(self)
        exact.low = torch.float64
        exact.x, exact.weight, exact.pull = (
            tensor.detach().double().requires_grad_() for tensor in (self.x, self.weight, self.pull)
        )
        exact.norm = copy.deepcopy(self.norm).double()
        return exact.run(plain)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Inside, float32 products on a GPU take 10 bits of a number, or all of them."""
    kept = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = kept


def errors(found: list[Tensor], truth: list[Tensor]) -> list[float]:
    """Relative, of the value and each gradient as a whole."""
    return [
        float((one.double() - exact).norm() / exact.norm())
        for one, exact in zip(found, truth, strict=True)
    ]


def is_right(own: list[float], plains: list[float]) -> bool:
    """Whether errors are those that plain PyTorch makes in these types, or little more."""
    return all(
        one <= 3 * other + 2e-3 for one, other in zip(own, plains, strict=True)
    )  # a NaN is not


def rows_of(name: str, settings: argparse.Namespace) -> Iterator[Row]:
    channels, side = CASES[name]
    side = side * settings.image_size // 224
    torch.compiler.reset()  # what was compiled for the case before counts towards a limit
    few = Case(channels, side, settings, min(8, settings.batch_size))
    truth = few.truth()
    plains = errors(few.run(plain), truth)
    case = Case(channels, side, settings)
    means: dict[str, Mean] = {}
    wrong: dict[str, Any] = {}
    for candidate in settings.candidates:
        print(f"{name}: {candidate}", file=sys.stderr, flush=True)
        try:
            mean = MAKERS[candidate](few if candidate != TRITON else case)
            own = errors(few.run(mean), truth)
        except Exception as error:  # a candidate that does not run here must not end the others
            wrong[candidate] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name}: {candidate} does not run: {wrong[candidate]}", flush=True)
            continue
        if is_right(own, plains):
            means[candidate] = mean
        else:
            wrong[candidate] = own
            print(f"{name}: {candidate} is wrong: {own}, plain {plains}", flush=True)
    notes = {**vars(settings), "channels": channels, "side": side, "not timed": wrong}
    yield Row("expansion wrong", name, "", "", [len(wrong)], (), 0, notes=notes)
    yield from timed(name, case, means, settings, notes)


def timed(
    name: str,
    case: Case,
    means: dict[str, Mean],
    settings: argparse.Namespace,
    notes: dict[str, Any],
) -> Iterator[Row]:
    memory: dict[str, float] = {}
    for candidate, mean in list(means.items()):
        with memory_for(f"{name}: {candidate}") as fits:
            case.run(mean)  # what is set up once, compiled for these sizes too
            wait_for(case.device)
            before = start_of_peak(case.device)
            case.run(mean)
            wait_for(case.device)
            memory[candidate] = peak(case.device) - before
        if not fits:
            means.pop(candidate)
    times = {
        candidate: [turn / settings.repeats for turn in turns]
        for candidate, turns in in_turns(
            {
                candidate: lambda mean=mean: case.seconds(mean, settings.repeats)
                for candidate, mean in means.items()
            },
            settings.turns,
        ).items()
    }
    if PACKAGE not in means:
        return
    for candidate in [other for other in means if other != PACKAGE]:
        what = f"{name}, {candidate}"
        yield Row("expansion", what, PACKAGE, "s", times[candidate], times[PACKAGE], notes=notes)
        if case.device.type == "cuda":
            pair = [memory[candidate]], [memory[PACKAGE]]
            yield Row("expansion memory", what, PACKAGE, "MB", *pair, notes=notes)
    best = min(times, key=lambda candidate: median(times[candidate]))
    print(f"{name}: the fastest here is {best}", flush=True)


def measure(settings: argparse.Namespace) -> list[Row]:
    return [row for name in settings.cases for row in rows_of(name, settings)]


def more_arguments(parser: argparse.ArgumentParser) -> None:
    gpu = torch.cuda.is_available()
    here = list(MAKERS) if gpu else [PACKAGE, PLAIN]
    parser.set_defaults(turns=5)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--candidates", nargs="+", choices=MAKERS, default=here)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=256 if gpu else 8, help="of one view")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=10 if gpu else 1, help="a turn")
    parser.add_argument("--device", default="cuda" if gpu else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=gpu)
    parser.add_argument("--channels_last", action=argparse.BooleanOptionalAction, default=gpu)


QUICK = {"batch_size": 2, "width": 256, "image_size": 64, "cases": ["ResNet-18 layer1"]}

if __name__ == "__main__":
    run_rows(measure, __doc__, {**QUICK, "repeats": 1}, more_arguments)
