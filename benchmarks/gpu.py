"""`make gpu`, or `python -m benchmarks.gpu`: everything that wants a GPU's word, in one go.

Tests that need a GPU, the fast tests, a training step, candidates for the fused expansion, LARS,
Barlow Twins, the input, and ways to train on CIFAR-10, each in a process of its own with its log
in the folder. `summary.md` and `results.json` are written after every stage. A stage that has its
result is not repeated when the same is started again; one that failed is. Nothing is installed.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import gpu_stages
from benchmarks.gpu_record import (
    DONE,
    FAILED,
    LEFT_OUT,
    ROOT,
    STOPPED,
    WAITS,
    Ending,
    recall,
    remember,
    rows_of,
    write,
)
from benchmarks.gpu_stages import Stage
from benchmarks.rows import print_rows

PATIENCE = 120  # seconds in which a stage that is told to stop saves its state


class Visit:
    """Stages one after the other, until the budget is spent.

    Args:
        folder: for logs and results.
        minutes: after which no stage begins, and one that can go on later is stopped; null for no
            end.
        again: repeat what has its result.
    """

    def __init__(self, folder: Path, minutes: float | None, again: bool) -> None:
        self.folder, self.again = folder, again
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def take(self, stage: Stage) -> Ending:
        """Run it, unless it has run, or cannot, or time is over."""
        before = recall(self.folder, stage)
        if before and before.status == DONE and not self.again:
            return before
        if reason := stage.left_out():
            return self._kept(Ending(stage.name, LEFT_OUT, reason))
        left = self._left()
        if left is not None and left <= 0:
            return self._kept(Ending(stage.name, WAITS, "the time was over"))
        for file in (stage.rows, stage.tests):
            if file is not None:
                file.unlink(missing_ok=True)  # of another time
        return self._kept(self._run(stage, left))

    def _run(self, stage: Stage, left: float | None) -> Ending:
        log, began = self.folder / f"{stage.name}.log", time.monotonic()
        with log.open("w") as file:
            child = subprocess.Popen(
                list(stage.command),
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=surroundings(),
                start_new_session=True,
            )
            try:
                child.wait(left if stage.stops else None)
                status = FAILED if child.returncode else DONE
            except subprocess.TimeoutExpired:
                end(child)
                status = STOPPED
            except BaseException:
                end(child)
                raise
        said = {FAILED: last_line(log), STOPPED: "the time was over; start again to go on"}
        took = time.monotonic() - began
        return Ending(stage.name, status, said.get(status, ""), took, list(stage.command), str(log))

    def _left(self) -> float | None:
        return None if self._end is None else self._end - time.monotonic()

    def _kept(self, ending: Ending) -> Ending:
        remember(self.folder, ending)
        return ending


def surroundings() -> dict[str, str]:
    """Straight from the tree, without Weights & Biases unless it is asked for."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {"WANDB_MODE": "disabled", **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def end(child: subprocess.Popen[bytes]) -> None:
    """It and its own, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(PATIENCE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM:
            return


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10; without it, no such runs")
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="stages by name")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="no stage begins after it")
    parser.add_argument("--again", action="store_true", help="repeat what has its result")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, on a CPU too: whether it runs"
    )
    settings = parser.parse_args(arguments)
    settings.folder = settings.folder.resolve()
    settings.data = settings.data and settings.data.resolve()
    return settings


def chosen(stages: Sequence[Stage], names: Sequence[str] | None) -> list[Stage]:
    unknown = set(names or ()) - {stage.name for stage in stages}
    if unknown:
        known = ", ".join(stage.name for stage in stages)
        sys.exit(f"--only: no stage {', '.join(sorted(unknown))}; there are {known}")
    return [stage for stage in stages if not names or stage.name in names]


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse(arguments)
    on_gpu = torch.cuda.is_available()
    if not on_gpu and not settings.quick:
        sys.exit("torch sees no CUDA device here; --quick tries on the CPU whether it runs")
    stages = gpu_stages.stages(settings, on_gpu)
    wanted = chosen(stages, settings.only)
    settings.folder.mkdir(parents=True, exist_ok=True)
    visit = Visit(settings.folder, settings.budget, settings.again)
    ended: dict[str, Ending] = {}
    try:
        for number, stage in enumerate(wanted, 1):
            print(f"{number} of {len(wanted)}: {stage.name}, {stage.about}", flush=True)
            ended[stage.name] = ending = visit.take(stage)
            print(f"    {told(ending)}", flush=True)
            save(settings, stages, ended)
    finally:
        save(settings, stages, ended)
    print_rows([row for stage in wanted for row in rows_of(stage)], "On this GPU")
    print(f"Written: {settings.folder / 'summary.md'} and {settings.folder / 'results.json'}")
    if failed := [ending.name for ending in ended.values() if ending.status == FAILED]:
        sys.exit(f"failed: {', '.join(failed)}")


def save(settings: argparse.Namespace, stages: Sequence[Stage], ended: dict[str, Ending]) -> None:
    """Those of this visit, and those of visits before."""
    endings = [ended.get(stage.name) or recall(settings.folder, stage) for stage in stages]
    measured = [
        (stage.name, row)
        for stage, ending in zip(stages, endings, strict=True)
        if ending is not None
        for row in rows_of(stage)
    ]
    write(settings.folder, [one for one in endings if one], measured, settings.quick)


def told(ending: Ending) -> str:
    took = "" if ending.seconds is None else f" in {ending.seconds / 60:.1f} min"
    said = f": {ending.said}" if ending.said else ""
    log = f" ({ending.log})" if ending.status == FAILED else ""
    return f"{ending.status}{took}{said}{log}"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # a child is stopped too
    main()
