"""Choose an evaluation, run it, and report what it found: `blocklearn test`, and the same from
Python."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation import Evaluation, FrameProbe, LinearProbe, Row
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.reporting.loggers import log_probe
from blocklearn.reporting.plots import plot_results
from blocklearn.reporting.results import Results, write_results
from blocklearn.reporting.tables import print_results
from blocklearn.runs.little_noise import quietly
from blocklearn.runs.run_folder import RESULTS, RunFolder

QUIET = {  # of a Trainer that only evaluates
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "devices": 1,
}


def evaluate(
    network: BlockwiseModule,
    data: KeyedDataModule,
    evaluation: Evaluation | None = None,
    folder: str | Path | None = None,
    *,
    protocol: ProbeSettings = ProbeSettings(),
    checkpoint: str | Path | None = None,
    **trainer: Any,
) -> Results:
    """What `blocklearn test` does, without a command line: find out what each stage of a network
    has learned, print the table, and leave `results.json` and `accuracy_by_block.png` where
    `blocklearn compare` and `report` look for them.

    Args:
        network: trained, or as it was initialised; it is left as it is.
        data: with labels.
        evaluation: `LinearProbe()`, `KNN()`, ... (docs/evaluation.md); null for a linear probe on
            every stage.
        folder: of the run; the results go to a folder in it that is named after the evaluation,
            `probe` or `knn`. Null to write nothing.
        protocol: how the classifiers are trained, where any are.
        checkpoint: what the weights were read from, to be told in the results.
        trainer: further arguments of Lightning's Trainer, e.g. `accelerator="gpu"`; one device is
            used, and no progress bar.

    Returns:
        the figures: `results.rows` has one entry per feature, with `stage`, `feature` and `values`.

    Raises:
        UserError: for data that has no labels an evaluation could use.
    """

    def make_trainer(epochs: int) -> Trainer:
        return Trainer(**{**QUIET, "max_epochs": epochs, **trainer})

    chosen = choose_evaluation(evaluation, protocol, data, make_trainer)
    into = None if folder is None else RunFolder(Path(folder)).evaluation(chosen.name(data.target))
    with quietly(), _modes_kept(network):
        return evaluate_into(into, chosen, network, data, str(checkpoint) if checkpoint else None)


@contextmanager
def _modes_kept(network: BlockwiseModule) -> Iterator[None]:
    """Evaluations leave a network in eval mode, in which Lightning would go on training it."""
    modes = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def choose_evaluation(
    asked: Evaluation | None,
    protocol: ProbeSettings,
    data: KeyedDataModule,
    make_trainer: Callable[[int], Trainer],
) -> Evaluation:
    """The one that was asked for; where none was, a linear probe that suits the labels."""
    chosen = asked or LinearProbe()
    if type(chosen) is LinearProbe and data.frame_labels:
        if chosen.lrs or chosen.features:
            raise UserError(
                "evaluation: lrs and features need one label per sample, the target "
                f"{data.target} has one per frame; leave them out, or choose another --data.target"
            )
        chosen = FrameProbe()
    return chosen.under(protocol, make_trainer)


def evaluate_into(
    folder: Path | None,
    evaluation: Evaluation,
    network: BlockwiseModule,
    data: KeyedDataModule,
    checkpoint: str | None,
) -> Results:
    """Run it, print the table, and leave table, picture and figures in a folder, where one is
    named."""
    if folder:
        data.list_unreadable_in(folder)
    data.prepare_data()
    data.setup("test")
    results = _results(evaluation, evaluation.run(network, data), data, checkpoint)
    written = _leave(results, evaluation, folder) if folder else []
    print_results(results)
    if written:
        print(f"Written: {', '.join(map(str, written))}")
    return results


def _results(
    evaluation: Evaluation, rows: Sequence[Row], data: KeyedDataModule, checkpoint: str | None
) -> Results:
    return Results(
        checkpoint=checkpoint,
        dataset=evaluation.dataset(data),
        target=data.target,
        num_classes=data.num_classes,
        settings={**asdict(evaluation.protocol), **_plain_settings(evaluation)},
        rows=rows,
        evaluation=type(evaluation).__name__,
        title=evaluation.full_title(data.target),
        unit=evaluation.unit,
        main=evaluation.main,
        higher_is_better=evaluation.higher_is_better,
    )


def _leave(results: Results, evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write them, and show them to the loggers. Returns the files."""
    table, picture = folder / RESULTS, folder / "accuracy_by_block.png"
    write_results(results, table)
    plot_results({"": results}, picture)
    further = list(evaluation.leave(folder))
    pictures = [picture, *(path for path in further if path.suffix == ".png")]
    log_probe(evaluation.trainer().loggers, results.rows, pictures)
    return [table, picture, *further]


def _plain_settings(evaluation: Evaluation) -> dict[str, Any]:
    """What the evaluation was built with, as far as it is plain data; evaluations within it by
    their class and settings."""
    named = {
        name: value
        for name, value in vars(evaluation).items()
        if name != "protocol" and not name.startswith("_")
    }
    plain = {name: _plain(value) for name, value in named.items()}
    return {name: value for name, value in plain.items() if value is not _NOT_PLAIN}


_NOT_PLAIN = object()


def _plain(value: Any) -> Any:
    if isinstance(value, Evaluation):
        return {"class": type(value).__name__, **_plain_settings(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        entries = [_plain(entry) for entry in value]
        return _NOT_PLAIN if _NOT_PLAIN in entries else entries
    return value if isinstance(value, (str, int, float, bool, type(None))) else _NOT_PLAIN
