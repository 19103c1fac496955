"""A sweep file of W&B, read without W&B: what is run, and with which settings."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from blocklearn.ablation.parameters import Parameter, read_parameter
from blocklearn.errors import UserError
from blocklearn.runs.run_folder import named_file, shipped_configs
from blocklearn.runs.strict_yaml import read_yaml

METHODS = ("grid", "random", "bayes")
OF_SERVER = ("name", "description", "project", "entity")  # say where and how W&B shows the sweep
KEYS = ("program", "command", "method", "metric", "parameters", "run_cap", *OF_SERVER)
NOT_HERE = {
    "early_terminate": "ends runs early, which ablate does not do",
    "controller": "is W&B's own",
    "scheduler": "is W&B's own",
    "job": "is a launch sweep's",
    "image_uri": "is a launch sweep's",
}
ARGUMENTS = ("${args}", "${args_no_equals}")
STARTERS = ("${env}", "${interpreter}", "/usr/bin/env", "python", "python3", "-m")
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
LAST = "probe/last"  # of `fit --then_test true`: the accuracy of the last block


@dataclass(frozen=True)
class Metric:
    """What runs are ranked by.

    Attributes:
        name: a column of `metrics.csv`, the same at W&B.
        maximize: whether the largest value is the best.
    """

    name: str = LAST
    maximize: bool = True


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes:
        path: of the file.
        command: what follows the program, `fit` first; one of `ARGUMENTS` stands for the settings.
        method: `grid`, `random` or `bayes`.
        parameters: in the order of the file.
        metric: what runs are ranked by.
        run_cap: most settings that are tried; null where the file does not say.
    """

    path: Path
    command: tuple[str, ...]
    method: str
    parameters: tuple[Parameter, ...]
    metric: Metric
    run_cap: int | None = None

    def arguments(self, settings: Mapping[str, Any]) -> list[str]:
        """The command line of one setting, from `fit` on, as an agent of W&B writes it."""
        written: list[str] = []
        for word in self.command:
            if word == "${args}":
                written += [f"--{name}={value}" for name, value in settings.items()]
            elif word == "${args_no_equals}":
                written += [
                    part for n, value in settings.items() for part in (f"--{n}", str(value))
                ]
            else:
                written.append(word)
        return written

    def with_flags(self, flags: Sequence[str]) -> "Sweep":
        """The same with further flags for every run.

        Raises:
            UserError: for a flag that the sweep varies.
        """
        for flag in flags:
            name = flag.partition("=")[0].removeprefix("--")
            if flag.startswith("--") and name in {one.name for one in self.parameters}:
                raise UserError(
                    f"{self.path.name}: {name} is a parameter of the sweep, so --{name} cannot be "
                    "the same for every run; leave it out"
                )
        return replace(self, command=(*self.command, *flags))


def find_sweep(name: str) -> Path:
    """The file for `ablate NAME`: that path, or the shipped sweep of that name.

    Raises:
        UserError: where there is neither; it names the nearest shipped one.
    """
    shipped = shipped_configs() / "sweeps"
    found = named_file(name, shipped)
    if found:
        return found
    known = sorted(path.name for path in shipped.glob("*.yaml"))
    near = get_close_matches(Path(name).name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(known)}"
    raise UserError(f"ablate: no file {name} in {Path.cwd()} nor among the shipped sweeps; {hint}")


def read_sweep(path: Path) -> Sweep:
    """
    Raises:
        UserError: for what is no sweep file, or asks for what cannot be done here; it names the
            file and the key.
    """
    content = read_yaml(path)
    _refuse_keys(content, path.name)
    method = content.get("method")
    if method not in METHODS:
        raise UserError(f"{path.name}: method should be one of {', '.join(METHODS)}, got {method}")
    told = content.get("parameters")
    if not isinstance(told, Mapping) or not told:
        raise UserError(f"{path.name}: parameters should name at least one setting")
    return Sweep(
        path,
        _command(content, path.name),
        method,
        tuple(read_parameter(str(name), value, path.name) for name, value in told.items()),
        _metric(content.get("metric"), path.name),
        _run_cap(content.get("run_cap"), path.name),
    )


def _refuse_keys(content: Mapping[str, Any], where: str) -> None:
    for key in content:
        if key in NOT_HERE:
            raise UserError(
                f"{where}: {key} {NOT_HERE[key]}; leave it out, or run the file with wandb agent"
            )
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
            raise UserError(f"{where}: there is no key {key}; {hint}")


def _command(content: Mapping[str, Any], where: str) -> tuple[str, ...]:
    told = content.get("command")
    example = 'command: ["${program}", fit, --config, bt_digits.yaml, "${args}"]'
    if not isinstance(told, list):
        raise UserError(f"{where}: command should be a list; write e.g. {example}")
    words = [_with_variables(str(word), where) for word in told]
    while words and words[0] in STARTERS:
        words.pop(0)
    first = words[0] if words else ""
    program = content.get("program", "") if first == "${program}" else first
    if Path(str(program)).name != "blocklearn" or words[1:2] != ["fit"]:
        raise UserError(
            f"{where}: program should be blocklearn and the command begin with fit, got "
            f"{program or first} {' '.join(words[1:2])}; write e.g. {example}"
        )
    for word in words:
        if word.startswith("${") and word not in (*ARGUMENTS, "${program}"):
            raise UserError(
                f"{where}: command: blocklearn does not take {word}; write {ARGUMENTS[0]}"
            )
    if not set(ARGUMENTS) & set(words):
        raise UserError(f"{where}: command: {ARGUMENTS[0]}, where the settings go, is missing")
    return tuple(words[1:])


def _with_variables(word: str, where: str) -> str:
    for name in VARIABLE.findall(word):
        if name not in os.environ:
            raise UserError(f"{where}: command: the variable {name} is not set")
    return VARIABLE.sub(lambda found: os.environ[found[1]], word)


def _metric(told: Any, where: str) -> Metric:
    if told is None:
        return Metric()
    if not isinstance(told, Mapping) or not isinstance(told.get("name"), str):
        raise UserError(f"{where}: metric should hold name and goal, e.g. name: {LAST}")
    for key in told:
        if key not in ("name", "goal"):
            raise UserError(f"{where}: metric: there is no key {key} here; there are name and goal")
    goal = told.get("goal", None if told["name"].startswith("probe/") else "minimize")
    if goal not in ("minimize", "maximize"):
        raise UserError(f"{where}: metric: goal should be minimize or maximize, got {goal}")
    return Metric(told["name"], goal == "maximize")


def _run_cap(told: Any, where: str) -> int | None:
    if told is not None and (not isinstance(told, int) or told < 1):
        raise UserError(f"{where}: run_cap should be a number above 0, got {told}")
    return told
