"""`blocklearn demo`: blockwise against end-to-end training and an untrained twin, on digits, in a few minutes."""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from blocklearn.errors import UserError
from blocklearn.guard import guarded
from blocklearn.machine import available_cores
from blocklearn.run_folder import RunFolder, find_config

# The untrained twin sees two epochs at learning rate 0: its weights stay as they were drawn and its BatchNorms learn the
# statistics of the data, without which it would be worse than it has to be.
RUNS = {
    "random": ["--model.optimizer.lr", "0", "--trainer.max_epochs", "2"],
    "end-to-end": ["--model.blocks", "end_to_end"],
    "blockwise": [],
}
SHOWN = "blockwise"


def run_demo(args: list[str]) -> None:
    """Train and probe each of `RUNS`, two at a time, then print one table and draw one picture."""
    parser = argparse.ArgumentParser(prog="blocklearn demo", description=__doc__)
    parser.add_argument(
        "--default_root_dir", type=Path, help="folder for all three runs; a new one under runs/ if absent"
    )
    parser.add_argument("--max_epochs", type=int, help="epochs of training; the configuration's if absent")
    parser.add_argument("--seed_everything", type=int, default=0, help="seed of all three runs (default: 0)")
    options = parser.parse_args(args)
    folder = RunFolder(options.default_root_dir) if options.default_root_dir else RunFolder.new("demo")
    shared = ["--config", str(find_config("bt_digits.yaml")), "--seed_everything", str(options.seed_everything)]
    budget = [] if options.max_epochs is None else ["--trainer.max_epochs", str(options.max_epochs)]

    start = time.monotonic()
    print(f"Training blockwise, end to end, and not at all, side by side, in {folder.path}", flush=True)
    commands = {
        name: [*shared, "--trainer.default_root_dir", str(folder.path / name), *budget, *changes]
        for name, changes in RUNS.items()
    }
    with ThreadPoolExecutor(max_workers=2) as pool:
        order = sorted(commands, key=lambda name: name != SHOWN)
        finished = pool.map(lambda name: _run_apart(name, commands[name]), order)
        _report(folder, dict(zip(order, finished, strict=True)))
    print(f"{time.monotonic() - start:.0f} s in all")


def _report(folder: RunFolder, rows: dict[str, list[Any]]) -> None:
    from blocklearn.evaluation.linear_probe import ProbeRow
    from blocklearn.interop.files import replacing
    from blocklearn.reporting.plots import plot_accuracy
    from blocklearn.reporting.tables import print_comparison

    picture, table = folder.path / "accuracy_by_block.png", folder.path / "results.json"
    with replacing(table) as unfinished:
        unfinished.write_text(json.dumps(rows, indent=2) + "\n")
    results = {name: [ProbeRow(**row) for row in rows[name]] for name in RUNS}
    plot_accuracy(results, "Linear probes on digits", picture)
    print()
    print_comparison(results, "digits")
    print(f"Picture: {picture}  Figures: {table}")


def _run_apart(name: str, arguments: list[str]) -> list[dict[str, Any]]:
    """Train and probe in a process of its own, with half of the cores. One of them shows its progress, the others write
    theirs to `log.txt` in their folders."""
    run = RunFolder(Path(arguments[arguments.index("--trainer.default_root_dir") + 1]))
    threads = max(1, available_cores() // 2)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "blocklearn.demo", *arguments]
    run.path.mkdir(parents=True, exist_ok=True)
    with (run.path / "log.txt").open("w") as log:
        output = None if name == SHOWN else log
        status = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False).returncode
    if status:
        told = (run.path / "log.txt").read_text().strip().splitlines()
        raise UserError(
            f"the {name} run failed ({told[-1] if told else f'status {status}'}); see {run.path / 'log.txt'}"
        )
    return json.loads((run.probe / "results.json").read_text())["rows"]


def _fit_and_test(arguments: list[str]) -> None:
    from blocklearn.cli import BlocklearnCLI

    fit = BlocklearnCLI(["fit", *arguments, "--wandb.mode", "disabled"])
    BlocklearnCLI(
        ["test", *arguments, "--wandb.mode", "disabled", "--model.checkpoint", str(fit.folder.last_checkpoint)]
    )


if __name__ == "__main__":
    sys.exit(guarded(lambda: _fit_and_test(sys.argv[1:])))
