"""`blocklearn demo`: blockwise against end-to-end training and an untrained twin, on digits, in
one to two minutes."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from blocklearn.cli.error_exit import guarded
from blocklearn.errors import UserError
from blocklearn.machine import available_cores
from blocklearn.runs.run_folder import RunFolder, find_config

# The untrained twin sees two epochs at learning rate 0: its weights stay as they were drawn and its
# BatchNorms learn the
# statistics of the data, without which it would be worse than it has to be.
RUNS = {
    "random": ["--model.optimizer.lr", "0", "--trainer.max_epochs", "2"],
    "end-to-end": ["--model.blocks", "end_to_end"],
    "blockwise": [],
}
HERE = [
    "blockwise"
]  # trained in this process, which shows its progress; the others in one of their own, beside it


def run_demo(args: list[str]) -> None:
    """Train and probe each of `RUNS`, then print one table and draw one picture."""
    parser = argparse.ArgumentParser(prog="blocklearn demo", description=__doc__)
    parser.add_argument(
        "--default_root_dir",
        type=Path,
        help="folder for all three runs; a new one under runs/ if absent",
    )
    parser.add_argument(
        "--max_epochs", type=int, help="epochs of training; the configuration's if absent"
    )
    parser.add_argument(
        "--seed_everything", type=int, default=0, help="seed of all three runs (default: 0)"
    )
    options = parser.parse_args(args)
    folder = (
        RunFolder(options.default_root_dir) if options.default_root_dir else RunFolder.new("demo")
    )
    shared = [
        "--config",
        str(find_config("bt_digits.yaml")),
        "--seed_everything",
        str(options.seed_everything),
    ]
    budget = [] if options.max_epochs is None else ["--trainer.max_epochs", str(options.max_epochs)]

    start = time.monotonic()
    print(
        f"Training blockwise, end to end, and not at all, side by side, in {folder.path}",
        flush=True,
    )
    commands = {
        name: [*shared, "--trainer.default_root_dir", str(folder.path / name), *budget, *changes]
        for name, changes in RUNS.items()
    }
    beside = [commands[name] for name in RUNS if name not in HERE]
    folder.path.mkdir(parents=True, exist_ok=True)
    log = folder.path / "others.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "blocklearn.cli.demo", json.dumps(beside)]
        others = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _fit_and_test([commands[name] for name in HERE])
        status = others.wait()
    finally:
        others.kill()
    if status:
        raise UserError(f"the runs beside this one failed with status {status}; see {log}")
    _report(folder)
    print(f"{time.monotonic() - start:.0f} s in all")


def _fit_and_test(commands: list[list[str]]) -> None:
    """Train and probe, one run after the other, with half of the cores."""
    import torch

    from blocklearn.cli.app import BlocklearnCLI

    torch.set_num_threads(max(1, available_cores() // 2))
    for arguments in commands:
        quiet = [*arguments, "--wandb.mode", "disabled"]
        fit = BlocklearnCLI(["fit", *quiet])
        BlocklearnCLI(["test", *quiet, "--model.checkpoint", str(fit.folder.last_checkpoint)])


def _report(folder: RunFolder) -> None:
    from dataclasses import replace

    from blocklearn.reporting.comparison import plot_comparison, print_comparison
    from blocklearn.reporting.results import read_results
    from blocklearn.weights.atomic_write import replacing

    probes = {name: RunFolder(folder.path / name).probe / "results.json" for name in RUNS}
    found = {
        name: [replace(read_results(path), title="Linear probes")] for name, path in probes.items()
    }
    picture, table = folder.path / "accuracy_by_block.png", folder.path / "results.json"
    rows = {name: [row.as_dict() for row in results.rows] for name, (results,) in found.items()}
    with replacing(table) as unfinished:
        unfinished.write_text(json.dumps(rows, indent=2) + "\n")
    plot_comparison(found, picture)
    print_comparison(found)
    print(f"Picture: {picture}  Figures: {table}")


if __name__ == "__main__":
    sys.exit(guarded(lambda: _fit_and_test(json.loads(sys.argv[1]))))
