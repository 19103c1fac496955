"""What `python -m benchmarks.gpu` runs, in order."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# What is trained on CIFAR-10: the stage, the sweep, and its seeds; one seed of everything first.
CIFAR10 = (
    ("cifar10", "ways_cifar10", 1),
    ("cifar10_heads", "heads_cifar10", 1),
    ("cifar10_seeds", "ways_cifar10", 3),
)
PYTHON = sys.executable


@dataclass(frozen=True)
class Stage:
    """Attributes:
    name: of its files, and for `--only`.
    about: a line on it.
    command: to run it, from the root of the repository.
    rows: JSON with what it measured (`benchmarks.rows`); null for none.
    needs: modules without which it is left out.
    tests: JUnit XML with how its tests went; null for none.
    missing: what else is not there, in words; it is then left out.
    stops: it may be ended at any time, and goes on when it is started again.
    """

    name: str
    about: str
    command: Sequence[str]
    rows: Path | None = None
    needs: Sequence[str] = ()
    tests: Path | None = None
    missing: str | None = None
    stops: bool = False

    def left_out(self) -> str | None:
        """Why it cannot run here; null where it can."""
        absent = [name for name in self.needs if find_spec(name) is None]
        if absent:
            return f"{', '.join(absent)} not installed"
        return self.missing


def stages(settings: argparse.Namespace, on_gpu: bool) -> list[Stage]:
    """All of them.

    Args:
        settings: `folder`, `data` and `quick`.
        on_gpu: whether there is a CUDA device.
    """
    folder: Path = settings.folder
    device = ("--device", "cuda") if on_gpu else ()
    sizes = () if settings.quick else ("--backbone", "resnet50", "--batch_size", "256")
    sizes = (*sizes, *(() if settings.quick else ("--image_size", "224", "--bf16")))
    few = ("--ways", "end to end", "blocklearn") if settings.quick and not on_gpu else ()
    step = ("--together", *sizes, *few)
    loader = ("--loader_images", "40", "--loader_batch", "8", "--workers", "1")
    return [
        _tests("tests", "the tests that need a GPU", folder, "tests/gpu", "-m", "gpu"),
        _suite(settings),
        _benchmark(
            "step",
            "a training step, ResNet-50, 224 px, bf16",
            settings,
            *step,
            "--trace",
            str(folder / "step_trace.json"),
        ),
        _benchmark("step_compiled", "the same with --compile", settings, *step, "--compile"),
        _benchmark("expansion", "ways to compute the fused expansion", settings),
        _benchmark("lars", "a step of LARS", settings, *device),
        _benchmark("barlow", "Gram form against matrix form", settings, *device),
        _benchmark(
            "input",
            "what the host delivers",
            settings,
            *(loader if settings.quick else ()),
            "--step",
            str(folder / "step.json"),
        ),
        *(_cifar10(settings, *one) for one in CIFAR10),
    ]


def _benchmark(name: str, about: str, settings: argparse.Namespace, *arguments: str) -> Stage:
    rows = settings.folder / f"{name}.json"
    module = f"benchmarks.{name.removesuffix('_compiled')}"
    quick = ["--quick"] if settings.quick else []
    return Stage(
        name, about, [PYTHON, "-m", module, *quick, *arguments, "--output", str(rows)], rows
    )


def _tests(name: str, about: str, folder: Path, *arguments: str) -> Stage:
    tests = folder / f"{name}.xml"
    command = [PYTHON, "-m", "pytest", *arguments, "-rs", f"--junitxml={tests}"]
    if find_spec("jsonargparse") is None:  # the suite's own filters of warnings import it
        command += ["-o", "filterwarnings=default"]
    return Stage(name, about, command, needs=["pytest"], tests=tests)


def _suite(settings: argparse.Namespace) -> Stage:
    plain = _tests("suite", "the fast tests, on this machine", settings.folder, "-n", "4")
    return Stage(
        plain.name,
        plain.about,
        plain.command,
        needs=["pytest", "xdist", "jsonargparse", "wandb"],
        tests=plain.tests,
        missing="too long for a trial" if settings.quick else None,
    )


def _cifar10(settings: argparse.Namespace, name: str, sweep: str, seeds: int) -> Stage:
    data: Path | None = settings.data
    # the files of torchvision, or folders of images
    kind = ["--data", "ImageFolder"] if data and (data / "train").is_dir() else []
    runs = str(settings.folder / sweep)
    own = [*kind, "--data.root", str(data or "CIFAR10_FOLDER"), "--default_root_dir", runs]
    missing = None if data else "no folder of CIFAR-10 (make gpu DATA=FOLDER)"
    return Stage(
        name,
        f"{sweep} on CIFAR-10, {'one seed' if seeds == 1 else f'{seeds} seeds'}",
        [PYTHON, "-m", "blocklearn", "ablate", sweep, "--seeds", str(seeds), *own],
        needs=["jsonargparse", "wandb"],
        missing="too long for a trial" if settings.quick else missing,
        stops=True,
    )
