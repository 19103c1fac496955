"""What a report needs to know of a run, read from its folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklearn.errors import UserError
from blocklearn.evaluation.evaluation import Row
from blocklearn.reporting.results import Results, read_results
from blocklearn.reporting.seeds import mean_results, over_seeds, place
from blocklearn.runs.run_folder import RunFolder
from blocklearn.runs.strict_yaml import read_yaml

# settings that say where and how a run is carried out, not what is learned
OF_THE_PLACE = (
    "seed_everything",
    "trainer.default_root_dir",
    "trainer.logger",
    "trainer.enable_progress_bar",
    "data.num_workers",
    "data.init_args.num_workers",
    "wandb",
    "probe",
    "evaluation",
)


@dataclass(frozen=True)
class ReportedRun:
    """One run of a report.

    Attributes:
        name: what it is called there.
        folder: its files.
        config: its settings, flat: `model.backbone` to a value.
        results: of its evaluations, by the name of their folder.
    """

    name: str
    folder: RunFolder
    config: Mapping[str, Any]
    results: Mapping[str, Results]

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that decide what is learned, the seed left out."""
        return {
            key: value
            for key, value in self.config.items()
            if not any(key == name or key.startswith(f"{name}.") for name in OF_THE_PLACE)
        }

    @property
    def data(self) -> str:
        """The data set and its folder, as the configuration names them."""
        kind = str(self.config.get("data.class_path", "")).rsplit(".", 1)[-1]
        root = self.config.get("data.init_args.root")
        return f"{kind} in {root}" if root not in (None, "data") else kind


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        name: of the first, with the number of seeds where there are several.
        runs: in the order in which they were given.
    """

    name: str
    runs: Sequence[ReportedRun]

    def found(self, evaluation: str) -> list[Results]:
        """Of every run that has them."""
        return [run.results[evaluation] for run in self.runs if evaluation in run.results]

    def results(self, evaluation: str) -> Results | None:
        """The mean over the runs that have it."""
        found = self.found(evaluation)
        return mean_results(found) if found else None

    def spread(self, evaluation: str, row: Row, name: str) -> float | None:
        """The standard deviation (n - 1) of a value over the runs; None for fewer than two."""
        there = over_seeds(self.found(evaluation), name).get(place(row))
        return there.sd if there else None


def read_run(name: str, path: Path) -> ReportedRun:
    """
    Raises:
        UserError: for a folder that is no run's, or that cannot be read.
    """
    folder = RunFolder(path)
    config = read_yaml(folder.config) if folder.config.is_file() else {}
    if not config and not (folder.evaluations() or list(path.glob("checkpoints/*.ckpt"))):
        raise UserError(
            f"report: {path} has no config.yaml, so it is not the folder of a run; name the folder "
            "that blocklearn fit told as Run folder"
        )
    results = {file.parent.name: read_results(file) for file in folder.evaluations()}
    return ReportedRun(name, folder, dict(_flat(config)), results)


def require_same_data(runs: Sequence[ReportedRun]) -> None:
    """
    Raises:
        UserError: for runs that were trained, or evaluated under the same name, on different data.
    """
    first, *others = runs
    for other in others:
        if first.data != other.data:
            raise UserError(
                f"report: {first.name} was trained on {first.data} and {other.name} on "
                f"{other.data}; their figures are not to be compared: write a report of each"
            )
        for name in first.results.keys() & other.results.keys():
            ours, theirs = first.results[name].dataset, other.results[name].dataset
            if ours != theirs:
                raise UserError(
                    f"report: {name} of {first.name} is on {ours} and of {other.name} on {theirs}; "
                    "their figures are not to be compared: write a report of each"
                )


def grouped(runs: Sequence[ReportedRun]) -> list[Group]:
    """Runs together that differ in their seed alone."""
    found: list[list[ReportedRun]] = []
    for run in runs:
        own = next((group for group in found if group[0].deciding == run.deciding), None)
        if own is None:
            found.append([run])
        else:
            own.append(run)
    return [
        Group(f"{runs[0].name} ({len(runs)} seeds)" if len(runs) > 1 else runs[0].name, runs)
        for runs in found
    ]


def differing(runs: Sequence[ReportedRun]) -> dict[str, list[Any]]:
    """Settings other than the seed that decide what is learned and are not the same in all runs:
    their values, one a run; empty for the seeds of one setting."""
    deciding = [run.deciding for run in runs]
    keys = dict.fromkeys(key for own in deciding for key in own)
    rows = {key: [own.get(key) for own in deciding] for key in keys}
    return {
        key: values for key, values in rows.items() if any(value != values[0] for value in values)
    }


def differences(runs: Sequence[ReportedRun]) -> dict[str, list[Any]]:
    """Settings that are not the same in all runs: their values, one a run."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    rows = {key: [run.config.get(key, "") for run in runs] for key in keys}
    return {
        key: values
        for key, values in rows.items()
        if any(value != values[0] for value in values) and key != "trainer.default_root_dir"
    }


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
