"""`blocklearn demo`: blockwise against end-to-end training and an untrained twin, on digits, in
1 to 2 minutes a seed."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklearn.cli.error_exit import guarded
from blocklearn.cli.loading import loading
from blocklearn.errors import UserError
from blocklearn.machine import available_cores
from blocklearn.runs.run_folder import RESULTS, RunFolder, find_config
from blocklearn.weights.atomic_write import replacing

if TYPE_CHECKING:
    from blocklearn.reporting.results import Results

# The untrained twin sees two epochs at learning rate 0: its weights stay as they were drawn and its
# BatchNorms learn the statistics of the data, without which it would be worse than it has to be.
RUNS = {
    "random": ["--model.optimizer.lr", "0", "--trainer.max_epochs", "2"],
    "end-to-end": ["--model.blocks", "end_to_end"],
    "blockwise": [],
}
# trained in this process, which shows its progress; the others in one of their own, beside it
HERE = ["blockwise"]
MADE_WITH = "demo.json"


def run_demo(args: list[str]) -> None:
    """Train and probe each of `RUNS` with every seed, then print one table and draw one picture."""
    options = _parser().parse_args(args)
    if options.seeds < 1:
        raise UserError(f"demo: --seeds must be at least 1, got {options.seeds}")
    given = options.default_root_dir
    folder = RunFolder(given) if given else RunFolder.new("demo")
    _require_same_demo(folder.path, options)
    seeds = range(options.seed_everything, options.seed_everything + options.seeds)
    runs = {
        name: [_run_folder(folder.path / name, seed, options.seeds) for seed in seeds]
        for name in RUNS
    }
    budget = _budget(options.max_epochs)
    commands = {
        name: [
            _command(run, seed, [*budget, *RUNS[name]])
            for run, seed in zip(own, seeds, strict=True)
        ]
        for name, own in runs.items()
    }
    start = time.monotonic()
    told = f", with {options.seeds} seeds" if options.seeds > 1 else ""
    print(f"Training blockwise, end to end, and not at all{told}, side by side, in {folder.path}")
    _train(folder.path, commands)
    _report(folder.path, runs)
    print(f"{time.monotonic() - start:.0f} s in all")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="blocklearn demo", description=__doc__)
    parser.add_argument(
        "--default_root_dir",
        type=Path,
        help="folder for all runs, where finished ones are not done again; a new one under runs/ "
        "if absent",
    )
    parser.add_argument(
        "--max_epochs", type=int, help="epochs of training; the configuration's if absent"
    )
    parser.add_argument(
        "--seed_everything", type=int, default=0, help="the first seed (default: 0)"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        help="how many seeds; for several the table has mean and standard deviation (default: 1)",
    )
    return parser


def _budget(epochs: int | None) -> list[str]:
    """Flags for so many epochs, with a warm-up that is no longer than they are."""
    if epochs is None:
        return []
    warm_up = ["--model.lr_schedule.warmup_epochs", "1"] if epochs < 2 else []
    return ["--trainer.max_epochs", str(epochs), *warm_up]


def _require_same_demo(folder: Path, options: argparse.Namespace) -> None:
    """Whose runs in the folder are finished must have been trained as is asked for now.

    Raises:
        UserError: where they were not.
    """
    asked = {
        "seed_everything": options.seed_everything,
        "max_epochs": options.max_epochs,
        "several_seeds": options.seeds > 1,
    }
    path = folder / MADE_WITH
    if path.is_file() and json.loads(path.read_text()) != asked:
        raise UserError(
            f"demo: {folder} holds a demo that was made with {path.read_text().strip()}; name "
            "another --default_root_dir"
        )
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(asked) + "\n")


def _run_folder(parent: Path, seed: int, seeds: int) -> RunFolder:
    return RunFolder(parent / f"seed{seed}" if seeds > 1 else parent)


def _command(run: RunFolder, seed: int, changes: Sequence[str]) -> list[str]:
    """Of the command line, verb and what is the same for all left out."""
    shared = ["--config", str(find_config("bt_digits.yaml")), "--seed_everything", str(seed)]
    return [*shared, "--trainer.default_root_dir", str(run.path), *changes]


def _train(folder: Path, commands: Mapping[str, Sequence[Sequence[str]]]) -> None:
    beside = [command for name in RUNS if name not in HERE for command in commands[name]]
    log = folder / "others.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "blocklearn.cli.demo", json.dumps(beside)]
        others = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _fit_and_test([command for name in HERE for command in commands[name]])
        if others.poll() is None:
            print(f"Waiting for the runs beside it; {log} tells of them", flush=True)
        status = others.wait()
    finally:
        others.kill()
    if status:
        raise UserError(f"the runs beside this one failed with status {status}; see {log}")


def _fit_and_test(commands: Sequence[Sequence[str]]) -> None:
    """Train and probe, one run after the other, with half of the cores; runs that are finished are
    left as they are."""
    with loading():
        import torch

        from blocklearn.cli.app import BlocklearnCLI

    torch.set_num_threads(max(1, available_cores() // 2))
    for arguments in commands:
        folder = RunFolder(Path(arguments[arguments.index("--trainer.default_root_dir") + 1]))
        if _results_of(folder).is_file():
            print(f"{folder.path} is finished")
            continue
        quiet = [*arguments, "--wandb.mode", "disabled"]
        BlocklearnCLI(["fit", *quiet, "--resume", "auto"])
        BlocklearnCLI(["test", *quiet, "--model.checkpoint", str(folder.last_checkpoint)])


def _results_of(run: RunFolder) -> Path:
    return run.probe / RESULTS


def _report(folder: Path, runs: Mapping[str, Sequence[RunFolder]]) -> None:
    from dataclasses import replace

    from blocklearn.reporting.comparison import plot_comparison, print_comparison, write_comparison
    from blocklearn.reporting.results import read_results

    found = {
        name: [replace(read_results(_results_of(run)), title="Linear probes") for run in own]
        for name, own in runs.items()
    }
    table = folder / "results.json"
    with replacing(table) as unfinished:
        unfinished.write_text(
            json.dumps({n: _plain(own) for n, own in found.items()}, indent=2) + "\n"
        )
    picture = plot_comparison(found, folder / "accuracy_by_block.png")
    write_comparison(found, picture.with_suffix(".csv"))
    print_comparison(found)
    print(f"Picture: {picture}  Figures: {table}, {picture.with_suffix('.csv').name}")


def _plain(seeds: "Sequence[Results]") -> list[Any]:
    """The rows of the only seed, or a list of rows per seed."""
    rows = [[row.as_dict() for row in results.rows] for results in seeds]
    return rows if len(rows) > 1 else rows[0]


if __name__ == "__main__":
    sys.exit(guarded(lambda: _fit_and_test(json.loads(sys.argv[1]))))
