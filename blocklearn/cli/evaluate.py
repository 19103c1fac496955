"""`blocklearn test`: choose the evaluation, run it, and report what it found."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation import Evaluation, FrameProbe, LinearProbe
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.reporting.loggers import log_probe
from blocklearn.reporting.plots import plot_results
from blocklearn.reporting.results import Results, write_results
from blocklearn.reporting.tables import print_results
from blocklearn.runs.run_folder import RESULTS


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


def evaluate(
    evaluation: Evaluation,
    network: BlockwiseModule,
    data: KeyedDataModule,
    checkpoint: str | None,
    folder: Path,
) -> Results:
    """Run it, and leave table, picture and figures in a folder."""
    data.list_unreadable_in(folder)
    data.prepare_data()
    data.setup("test")
    rows = evaluation.run(network, data)
    results = Results(
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
    table, picture = folder / RESULTS, folder / "accuracy_by_block.png"
    write_results(results, table)
    plot_results({"": results}, picture)
    further = list(evaluation.leave(folder))
    pictures = [picture, *(path for path in further if path.suffix == ".png")]
    log_probe(evaluation.trainer().loggers, rows, pictures)
    print_results(results)
    print(f"Written: {', '.join(map(str, [table, picture, *further]))}")
    return results


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
