"""Which parts can stand at a key of the configuration, by their short names."""

import inspect
from collections.abc import Iterator
from typing import Any

from jsonargparse._parameter_resolvers import get_signature_parameters
from jsonargparse._typehints import get_all_subclass_paths, get_class_types
from jsonargparse._util import import_object

import blocklearn.callbacks
import blocklearn.criteria
import blocklearn.data
import blocklearn.evaluation
import blocklearn.masks
import blocklearn.metrics
import blocklearn.objectives
import blocklearn.optim
from blocklearn.distributed.strategy import BlockwiseDDPStrategy
from blocklearn.training.trainer_parts import INSTEAD

BASES = {  # of which a part of one's own is made, none to train with
    "AuxiliaryObjective",
    "BlockMetric",
    "Criterion",
    "Evaluation",
    "ImageDataModule",
    "KeyedDataModule",
    "LRSchedule",
    "Mask",
    "NoObjective",
    "Noise",
    "Objective",
    "SpeechDataModule",
    "TorchvisionImages",
    "VideoDataModule",
    "VideosOfFiles",
}
USABLE = {"Projector"}  # itself, where a part of its kind is asked for
AT_WORK = {"LastCheckpoint", "LateRows", "MetricsCSV", "StopOnSignal"}  # in every run anyway
OTHERS = {  # of the many that other libraries have, those that are offered
    "torch.optim": ("AdamW", "Adam", "SGD"),
    "lightning.pytorch.callbacks": (
        "EarlyStopping",
        "ModelCheckpoint",
        "EMAWeightAveraging",
        "LearningRateMonitor",
        "Timer",
    ),
    "lightning.pytorch.loggers": (
        "CSVLogger",
        "TensorBoardLogger",
        "WandbLogger",
        "MLFlowLogger",
        "CometLogger",
    ),
}
PACKAGES = (
    blocklearn.callbacks,
    blocklearn.criteria,
    blocklearn.data,
    blocklearn.evaluation,
    blocklearn.masks,
    blocklearn.metrics,
    blocklearn.objectives,
    blocklearn.optim,
    blocklearn,
)


def known_parts(typehint: Any) -> dict[str, str]:
    """By short name, the class path of every class that could stand where that type is asked
    for; those that are refused are left out."""
    paths = get_all_subclass_paths(typehint, closed_types=False)
    found = {path.rpartition(".")[2]: path for path in paths}
    return {name: path for name, path in found.items() if not _refused(path)}


def offered_parts(typehint: Any) -> dict[str, str]:
    """Of those the ones that are worth a mention: blocklearn's own, and the usual ones of
    others."""
    bases = BASES | {kind.__name__ for kind in get_class_types(typehint, closed_types=False)}
    found = known_parts(typehint)
    own = {n: p for n, p in found.items() if p.startswith("blocklearn.") and _public(n)}
    usual = {n: p for n, p in found.items() if n in OTHERS.get(p.rpartition(".")[0], ())}
    alone = len(found) == 1  # one kind alone, as Projector, stands for itself
    left_out = AT_WORK | (set() if alone else bases - USABLE)
    return {name: path for name, path in (own | usual).items() if name not in left_out}


def arguments_of(path: str, skipped: int = 0) -> Iterator[Any]:
    """What a class takes, as jsonargparse finds it: name, annotation, default, doc.

    Args:
        path: of the class.
        skipped: how many arguments at the beginning are given by the code that builds it.
    """
    part: Any = import_object(path, check_path=False)
    for parameter in get_signature_parameters(part)[skipped:]:
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            yield parameter


def _public(name: str) -> bool:
    return name == "InTurn" or any(name in package.__all__ for package in PACKAGES)


def _refused(path: str) -> bool:
    try:
        kind = import_object(path, check_path=False)
    except (ImportError, AttributeError):
        return True
    if not isinstance(kind, type):
        return False
    strategies = [base for base in kind.__mro__ if base.__name__ == "Strategy"]
    ours = issubclass(kind, BlockwiseDDPStrategy) or kind.__name__ == "BlockParallelStrategy"
    return (bool(strategies) and not ours) or any(issubclass(kind, known) for known in INSTEAD)
