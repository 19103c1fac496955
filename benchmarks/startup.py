"""Start-up: seconds from Enter to the help, to the version, and to the first training step on
digits."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from lightning.pytorch import Callback

from benchmarks.rows import Row, run_rows

FIT = ["fit", "--config", "bt_digits.yaml", "--trainer.callbacks+=benchmarks.startup.TellFirstStep"]


class TellFirstStep(Callback):
    """Writes when the first training step begins, and ends the process."""

    def on_train_batch_start(self, *_: Any) -> None:
        print(f"\nfirst step {time.time()}", flush=True)
        os._exit(0)


def seconds_of(*arguments: str, wandb: str = "disabled") -> float:
    """From the start of a process to its end, or to its first training step."""
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        where = (
            ["--trainer.default_root_dir", f"{folder}/run"]
            if arguments[0] == "fit" and "--help" not in arguments
            else []
        )
        done = subprocess.run(
            [sys.executable, "-m", "blocklearn", *arguments, *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
            env={**os.environ, "WANDB_MODE": wandb, "WANDB_SILENT": "true"},
        )
    if not where:
        return time.time() - start
    return float(done.stdout.split("first step ")[1].split()[0]) - start


def measure(settings: argparse.Namespace) -> list[Row]:
    def row(
        name: str, what: str, *arguments: str, target: float | None = None, wandb: str = "disabled"
    ) -> Row:
        seconds = [seconds_of(*arguments, wandb=wandb) for _ in range(settings.turns)]
        return Row(
            name,
            what,
            "",
            "s",
            seconds,
            target=target,
            notes={"command": ["blocklearn", *arguments]},
        )

    rows = [
        row("P8 help", "blocklearn --help", "--help", target=1),
        row("P8 version", "blocklearn --version", "--version", target=1),
        row("P8 fit", "fit on digits, to its first training step, W&B disabled", *FIT, target=12),
    ]
    if not settings.quick:
        rows += [
            row("P8 fit, W&B", "the same with W&B offline", *FIT, target=12, wandb="offline"),
            row("P8 fit --help", "blocklearn fit --help", "fit", "--help"),
        ]
    return rows


if __name__ == "__main__":
    run_rows(measure, __doc__)
