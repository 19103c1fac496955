"""Which results the arguments of `blocklearn compare` stand for."""

from collections.abc import Sequence
from pathlib import Path

from blocklearn.errors import UserError
from blocklearn.runs.run_folder import RESULTS, RunFolder


def labelled_paths(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """`LABEL=PATH` or `LABEL=PATH,PATH,...`, and a label given several times stands for all its
    paths: the seeds of one setting. A folder of runs stands for the runs in it.

    Raises:
        UserError: for an argument without a label or a path, or a path given twice.
    """
    found: dict[str, list[Path]] = {}
    for argument in arguments:
        label, text = _split(argument)
        if not label or not text.strip(","):
            raise UserError(
                f"compare: {argument} does not say what to call the run: write "
                f"LABEL={text or argument}"
            )
        found.setdefault(label, []).extend(_paths(text))
    for label, paths in found.items():
        twice = [path for number, path in enumerate(paths) if path in paths[:number]]
        if twice:
            raise UserError(f"compare: {twice[0]} is given twice for {label}; name each run once")
    return found


def find_results(path: Path, evaluation: str | None) -> Path:
    """The `results.json` that a file, the folder of an evaluation or a run's folder stands for.

    Args:
        path: of any of these.
        evaluation: name of the evaluation's folder in the run's; None where there is one alone.

    Raises:
        UserError: where there is none, or several.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"compare: there is no file or folder {path}")
    run = RunFolder(path)
    if evaluation is None and not run.probes() and (path / RESULTS).is_file():
        return path / RESULTS
    if evaluation is not None:
        named = run.evaluation(evaluation) / RESULTS
        if not named.is_file() and path.resolve().name == evaluation and (path / RESULTS).is_file():
            return path / RESULTS
        if not named.is_file():
            raise UserError(f"compare: there is no {named}; {_there(run)}")
        return named
    probes = run.probes()
    if len(probes) != 1:
        advice = "name one with --evaluation" if probes else "run blocklearn test first"
        raise UserError(f"compare: {path}: {_there(run)}; {advice}")
    return probes[0]


def _split(argument: str) -> tuple[str, str]:
    """At the first `=`, or at the last one where only that leaves a path: both may hold some."""
    label, _, text = argument.partition("=")
    longer, _, rest = argument.rpartition("=")
    there = [Path(each.partition(",")[0]).exists() for each in (text, rest)]
    return (longer, rest) if there == [False, True] else (label, text)


def _paths(text: str) -> list[Path]:
    """A path may hold commas itself."""
    texts = [text] if Path(text).exists() else [part for part in text.split(",") if part]
    return [path for part in texts for path in _runs_in(Path(part))]


def _runs_in(path: Path) -> list[Path]:
    """The folder itself, or the runs in it where it is none and holds some, e.g. one a seed."""
    if not path.is_dir() or (path / "config.yaml").is_file() or (path / RESULTS).is_file():
        return [path]
    return sorted(config.parent for config in path.glob("*/config.yaml")) or [path]


def _there(run: RunFolder) -> str:
    names = sorted(path.parent.name for path in run.path.glob(f"*/{RESULTS}"))
    return f"it has {', '.join(names)}" if names else "it has no results of an evaluation"
