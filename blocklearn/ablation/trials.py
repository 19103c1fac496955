"""One run of a sweep: its settings, its seed, its folder and its command."""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocklearn.ablation.sweep_file import Sweep
from blocklearn.errors import UserError
from blocklearn.runs.flags_given import value_of
from blocklearn.runs.run_folder import RunFolder
from blocklearn.weights.atomic_write import replacing

LONGEST = 60  # characters of a value in the name of a folder
RECORD = "trial.json"
SEED = "seed_everything"
CONFIG = "config"


@dataclass(frozen=True)
class Trial:
    """
    Attributes:
        name: of its settings, e.g. `noise=all,kernel_size=1`; the same for all of its seeds.
        settings: by the dotted names of the sweep file.
        seed: null for that of the command.
        folder: of its run.
        arguments: the command line of the run, `fit` first.
    """

    name: str
    settings: Mapping[str, Any]
    seed: int | None
    folder: Path
    arguments: tuple[str, ...] = field(repr=False)

    @property
    def title(self) -> str:
        """What it is called for people."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """All that its run printed."""
        return self.folder / "log.txt"

    def require_own_folder(self) -> None:
        """
        Raises:
            UserError: where another command was run in its folder.
        """
        before = read_record(self.folder)
        if before is not None and before.get("arguments") != list(self.arguments):
            raise UserError(self._of_another(before))
        if before is None and RunFolder(self.folder).latest_checkpoint():
            raise UserError(
                f"ablate: {self.folder} holds a run that ablate did not start; choose another "
                "--default_root_dir"
            )

    def record(self) -> None:
        """Write down what is run in its folder, unless that was done before."""
        self.require_own_folder()
        if read_record(self.folder) is None:
            told = {"arguments": list(self.arguments), "settings": dict(self.settings)}
            self.write({**told, "began": time.time()})

    def write(self, content: Mapping[str, Any]) -> None:
        """The record, whole or not at all."""
        with replacing(self.folder / RECORD) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2, default=str) + "\n")

    def _of_another(self, before: Mapping[str, Any]) -> str:
        ours, theirs = list(self.arguments), list(before.get("arguments", []))
        gone = [word for word in theirs if word not in ours]
        new = [word for word in ours if word not in theirs]
        return (
            f"ablate: {self.folder} holds the run of another command "
            f"({' '.join(gone) or 'nothing'} there, {' '.join(new) or 'nothing'} here); choose "
            "another --default_root_dir, or remove that folder to run it anew"
        )


def read_record(folder: Path) -> dict[str, Any] | None:
    """What was run in a folder; None where nothing was, or its record is damaged."""
    try:
        content = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


class TrialMaker:
    """Makes the trials of a sweep.

    Args:
        sweep: what is run.
        folder: for all runs.
        seeds: each setting is run with; null for the one seed of the command.

    Raises:
        UserError: where the sweep and the command both say the seeds, or the sweep asks for
            runs without a test.
    """

    def __init__(self, sweep: Sweep, folder: Path, seeds: Sequence[int] | None) -> None:
        self.sweep, self.folder, self.seeds = sweep, folder, seeds
        self._short = short_names([parameter.name for parameter in sweep.parameters])
        self._named: dict[str, Mapping[str, Any]] = {}
        if seeds and SEED in self._short:
            raise UserError(
                f"{sweep.path.name}: {SEED} is a parameter of the sweep; leave out --seeds"
            )
        if value_of("--then_test", sweep.command) in ("false", "False"):
            raise UserError(
                f"{sweep.path.name}: command: --then_test false leaves no accuracy to compare; "
                "leave it out"
            )

    def of(self, settings: Mapping[str, Any]) -> list[Trial]:
        """One for each seed. Where a setting of the sweep is the seed, it takes that place."""
        others = {name: value for name, value in settings.items() if name != SEED}
        seeds = [settings[SEED]] if SEED in settings else (self.seeds or [None])
        name = self._name(others)
        return [self._trial(name, settings, others, seed) for seed in seeds]

    def _trial(
        self, name: str, settings: Mapping[str, Any], others: Mapping[str, Any], seed: int | None
    ) -> Trial:
        own = self.folder / name
        folder = own if seed is None else own / f"seed{seed}"
        chosen = [] if seed is None or SEED in settings else [f"--{SEED}={seed}"]
        label = name if seed is None else f"{name},seed={seed}"
        command = self.sweep.command
        added = {
            "--trainer.default_root_dir": str(folder),
            "--then_test": "true",
            "--resume": "auto",
            "--wandb.group": self.folder.name,
            "--wandb.name": label,
        }
        if value_of("--trainer.default_root_dir", command) is not None:
            raise UserError(
                f"{self.sweep.path.name}: command: every run needs a folder of its own, which "
                "ablate names; leave --trainer.default_root_dir out"
            )
        further = [f"{k}={v}" for k, v in added.items() if value_of(k, command) is None]
        arguments = (*self.sweep.arguments(settings), *chosen, *further)
        return Trial(name, others, seed, folder, arguments)

    def _name(self, settings: Mapping[str, Any]) -> str:
        varied = {
            one.name for one in self.sweep.parameters if one.distribution != "constant"
        } & settings.keys()
        parts = [_part(self._short[n], v) for n, v in settings.items() if n in varied]
        name = ",".join(parts) or "all"
        if len(name) > 3 * LONGEST or self._named.setdefault(name, settings) != settings:
            digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
            name = f"{name[: 3 * LONGEST]}~{digest}"
            self._named[name] = settings
        return name


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The last words of dotted names, as many as tell them apart."""
    short: dict[str, str] = {}
    for name in names:
        words = name.split(".")
        for count in range(1, len(words) + 1):
            short[name] = ".".join(words[-count:])
            same = [other for other in names if f".{other}".endswith(f".{short[name]}")]
            if same == [name]:
                break
    return short


def _part(name: str, value: Any) -> str:
    """A setting as part of a name; a configuration is known by its own."""
    if name == CONFIG and isinstance(value, str):
        return cleaned(Path(value).stem)
    return f"{name}={cleaned(value)}"


def cleaned(value: Any) -> str:
    """A value as part of a folder's name."""
    text = re.sub(r"\]\s*,\s*\[", "+", str(value))
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-") or "empty"
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}~{hashlib.sha256(str(value).encode()).hexdigest()[:6]}"
