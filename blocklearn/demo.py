"""`blocklearn demo`: blockwise against end-to-end training and an untrained twin, on digits, in a few minutes."""

import argparse
import json
import time
from pathlib import Path

from blocklearn.cli import BlocklearnCLI
from blocklearn.evaluation.linear_probe import ProbeRow
from blocklearn.interop.files import replacing
from blocklearn.reporting.plots import plot_accuracy
from blocklearn.reporting.tables import print_comparison
from blocklearn.run_folder import RunFolder, find_config

# The untrained twin sees a few epochs at learning rate 0: its weights stay as they were drawn and its BatchNorms learn
# the statistics of the data, without which it would be worse than it has to be.
RUNS = {
    "random": ["--model.optimizer.lr", "0", "--model.optimizer.weight_decay", "0", "--trainer.max_epochs", "4"],
    "end-to-end": ["--model.blocks", "end_to_end"],
    "blockwise": [],
}


def run_demo(args: list[str]) -> None:
    """Train and probe each of `RUNS`, then print one table and draw one picture."""
    parser = argparse.ArgumentParser(prog="blocklearn demo", description=__doc__)
    parser.add_argument("--default_root_dir", type=Path, help="folder for all three runs; a new one under runs/ if absent")
    parser.add_argument("--max_epochs", type=int, help="epochs of training; the configuration's if absent")
    parser.add_argument("--seed_everything", type=int, default=0, help="seed of all three runs (default: 0)")
    options = parser.parse_args(args)
    folder = RunFolder(options.default_root_dir) if options.default_root_dir else RunFolder.new("demo")
    budget = [] if options.max_epochs is None else ["--trainer.max_epochs", str(options.max_epochs)]

    start = time.monotonic()
    results = {}
    for name, changes in RUNS.items():
        print(f"\n{name}", flush=True)
        run = RunFolder(folder.path / name)
        shared = ["--config", str(find_config("bt_digits.yaml")), "--seed_everything", str(options.seed_everything)]
        shared += ["--trainer.default_root_dir", str(run.path), "--wandb.group", "demo"]
        BlocklearnCLI(["fit", *shared, *budget, *changes])
        BlocklearnCLI(["test", *shared, "--model.checkpoint", str(run.last_checkpoint)])
        content = json.loads((run.probe / "results.json").read_text())
        results[name] = [ProbeRow(**row) for row in content["rows"]]

    picture, table = folder.path / "accuracy_by_block.png", folder.path / "results.json"
    plot_accuracy(results, "Linear probes on digits", picture)
    with replacing(table) as unfinished:
        rows = {name: [row.as_dict() for row in rows] for name, rows in results.items()}
        unfinished.write_text(json.dumps(rows, indent=2) + "\n")
    print()
    print_comparison(results, "digits")
    print(f"{time.monotonic() - start:.0f} s. Picture: {picture}  Figures: {table}")
