"""Runs whose losses are kept in tests/golden, block by block and to the last bit.

`python tests/golden_runs.py` adds those of this machine, or makes them anew: for a change that is
meant to change numbers (then remove those of other machines), or for other versions of the packages
that compute them. They are run without the instructions that only some processors have; all the
same, one build of PyTorch gives other last bits on another model of processor, so a file has the
losses of several, and only those of the same one are compared to the last bit.
"""

import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from sounds import write_spoken_digits

FOLDER = Path(__file__).parent / "golden"
BATCHES = 100
PLAIN = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
}
COMPUTING = ("torch", "torchvision", "timm", "numpy", "pillow")
FITS = """
import json, sys
from blocklearn.__main__ import main
sys.exit(max(main(["fit", *arguments]) for arguments in json.loads(sys.argv[1])))
"""
WAYS = ("end_to_end", "simultaneous", "sequential_digits", "merged", "overlapping")
FEW = 8  # batches of each of the ways
COMMON = (
    "--trainer.max_epochs=-1",
    "--trainer.limit_val_batches=0",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
    "--model.noise=all",
    "--data.num_workers=0",
    "--wandb.mode=disabled",
)


def digits(folder: Path) -> list[str]:
    return [
        "--config=bt_digits.yaml",
        f"--trainer.max_steps={BATCHES}",
        "--data.batch_size=16",
        "--model.lr_schedule.warmup_epochs=0.5",
    ]


def two_processes(folder: Path) -> list[str]:
    return [
        *digits(folder),
        "--trainer.devices=2",
        "--model.update.accumulate_batches=2",
        "--model.update.gradient_clip_norm=5",
    ]


def sound(folder: Path) -> list[str]:
    """The recipe for spoken digits, narrower, on a few made-up recordings."""
    recipe = yaml.safe_load((Path(__file__).parents[1] / "configs" / "gim_fsdd.yaml").read_text())
    recipe["model"]["network"]["backbone_kwargs"]["channels"] = 16
    last = recipe["model"]["per_block"]["block6"]["objective"]
    last["init_args"]["context"]["init_args"]["hidden"] = 16
    recipe["data"]["init_args"].update(
        root=str(write_spoken_digits(folder / "sounds")), batch_size=6
    )
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return [f"--config={folder / 'recipe.yaml'}", f"--trainer.max_steps={BATCHES}"]


def way(name: str) -> Callable[[Path], list[str]]:
    """A way of training of the comparison in docs/results.md, in float64: so it is the same to many
    digits on any machine."""

    def arguments(folder: Path) -> list[str]:
        few = [f"--trainer.max_steps={FEW}", "--data.batch_size=16", "--trainer.precision=64-true"]
        few.append("--model.lr_schedule.warmup_epochs=0")
        return ["--config=bt_digits.yaml", f"--config=ways/{name}.yaml", *few]

    return arguments


LONG: dict[str, Callable[[Path], list[str]]] = {
    "digits": digits,
    "sound": sound,
    "two_processes": two_processes,
}
RUNS = {**LONG, **{name: way(name) for name in WAYS}}


class Golden(NamedTuple):
    """Losses by batch and block, and what they were computed with."""

    made_with: dict[str, str]
    losses: list[list[float]]

    @classmethod
    def read(cls, name: str) -> "list[Golden]":
        """Of every machine that has run it."""
        return [cls(**one) for one in json.loads((FOLDER / f"{name}.json").read_text())]

    def add(self, name: str) -> None:
        """To those of other machines, in place of those of this one."""
        path = FOLDER / f"{name}.json"
        others = self.read(name) if path.exists() else []
        every = [one for one in others if one.made_with != self.made_with] + [self]
        path.write_text(f"[{', '.join(map(Golden._text, every))}]\n")

    def _text(self) -> str:
        rows = ",\n".join(json.dumps(row) for row in self.losses)
        return f'{{"made_with": {json.dumps(self.made_with)},\n"losses": [\n{rows}\n]}}'


def computed_with() -> dict[str, str]:
    versions = {name: version(name) for name in COMPUTING}
    return {"machine": platform.machine(), "processor": _processor(), **versions}


def _processor() -> str:
    """Vendor, family and model: the libraries choose among their ways by these too, whatever they
    are told of instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(tuple(map(str.strip, line.partition(":")[::2])) for line in reversed(lines))
    return " ".join(facts.get(name, "") for name in ("vendor_id", "cpu family", "model"))


def run(name: str, folder: Path, *changes: str) -> Golden:
    """Train in a process of its own, as a user does, and read the losses from its table of
    metrics."""
    _carry_out("-m", "blocklearn", "fit", *_arguments(name, folder), *changes)
    return Golden(computed_with(), _losses(folder / name / "metrics.csv"))


def run_all(names: Sequence[str], folder: Path) -> dict[str, Golden]:
    """Train one after the other in one process, which is not this one."""
    _carry_out("-c", FITS, json.dumps([_arguments(name, folder) for name in names]))
    return {name: Golden(computed_with(), _losses(folder / name / "metrics.csv")) for name in names}


def _arguments(name: str, folder: Path) -> list[str]:
    return [*RUNS[name](folder), *COMMON, f"--trainer.default_root_dir={folder / name}"]


def _carry_out(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **PLAIN},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)


def _losses(path: Path) -> list[list[float]]:
    """Of every block that has learned; of one that has ended, its last."""
    with path.open(newline="") as file:
        rows: list[dict[str, Any]] = [row for row in csv.DictReader(file) if row["block1/loss"]]
    blocks = [key for key in rows[0] if key.startswith("block") and key.endswith("/loss")]
    return [[float(row[key]) for key in blocks if row[key]] for row in rows]


if __name__ == "__main__":
    for name in sys.argv[1:] or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            run(name, Path(folder)).add(name)
        print(f"{FOLDER / name}.json")
