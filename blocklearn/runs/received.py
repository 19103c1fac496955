"""The configuration that lies beside a checkpoint: it comes with the file, perhaps from a stranger,
so it may choose among parts that are known and nothing else."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from blocklearn.blocks.old_arguments import renewed_config
from blocklearn.errors import in_one_line
from blocklearn.runs.strict_yaml import read_yaml

SECTIONS = ("seed_everything", "model", "data", "probe", "evaluation", "wandb")
OF_THE_TRAINER = (  # plain values that an evaluation shares with its training run
    "accelerator",
    "devices",
    "num_nodes",
    "precision",
    "log_every_n_steps",
    "enable_progress_bar",
    "deterministic",
    "benchmark",
)
PACKAGES = (
    "backbones",
    "blocks",
    "criteria",
    "data",
    "evaluation",
    "heads",
    "masks",
    "metrics",
    "objectives",
    "optim",
    "training",
)
NEAR = 3  # folders around a run in which its data are looked for
ROOTS = ("root", "probe_root")
ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:")  # a folder in a cloud; `C:` is a disk
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


def received_settings(config: Path) -> str:
    """What an evaluation takes of a run's configuration, as YAML. Callbacks, loggers, plugins and
    the folder to write to are training's own and are left behind; nothing is fetched because a file
    says so.

    Raises:
        UserError: as `read_yaml`.
    """
    content, _ = renewed_config(read_yaml(config))
    kept = {name: content[name] for name in SECTIONS if name in content}
    trainer = content.get("trainer")
    if isinstance(trainer, Mapping):
        kept["trainer"] = {name: trainer[name] for name in OF_THE_TRAINER if name in trainer}
    data = kept.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("init_args"), Mapping):
        arguments = dict(_without_fetching(data["init_args"]))
        kept["data"] = {**data, "init_args": arguments | _moved(arguments, config.parent)}
    return yaml.safe_dump(kept, sort_keys=False)


def _without_fetching(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in arguments.items():
        if name in ROOTS and ADDRESS.match(str(value)):
            print(
                f"data: nothing is fetched because a file says so: if you trust it, name "
                f"--data.{name} {in_one_line(value)} yourself",
                file=sys.stderr,
            )
        elif name not in ("download", "cache_dir"):
            yield name, value


def _moved(arguments: Mapping[str, Any], run: Path) -> dict[str, str]:
    """Folders of data that are not where the run found them, but lie as they did beside the run:
    run and data were moved together, or the command is given in another folder."""
    return {
        name: str(found)
        for name in ROOTS
        if (found := _beside(arguments.get(name), run)) is not None
    }


def _beside(root: Any, run: Path) -> Path | None:
    if not isinstance(root, str) or ADDRESS.match(root) or Path(root).exists():
        return None
    parts = [part for part in Path(root).parts if part not in ("..", Path(root).anchor)]
    for ancestor in list(run.absolute().parents)[:NEAR]:
        for start in range(len(parts)):
            found = ancestor.joinpath(*parts[start:])
            if found != Path(found.anchor) and found.is_dir():
                told = f"data: there is no {in_one_line(root)}; taking {found}, beside the run"
                print(told, file=sys.stderr)
                return found
    return None


def where_named(config: Path, name: str) -> str:
    """The key in a configuration whose value names a part, `model.optimizer.class_path`; empty
    where there is none."""
    return next((key for key, value in _values("", read_yaml(config)) if name in str(value)), "")


def values_of(config: Path) -> Iterator[tuple[str, Any]]:
    """The plain values in a configuration, each with its whole key."""
    return _values("", read_yaml(config))


def _values(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _values(f"{key}.{name}".lstrip("."), inner)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _values(f"{key}[{position}]", inner)
    else:
        yield key, value


def named_by_hand(args: Sequence[str], configs: Sequence[Path]) -> set[str]:
    """The import paths in what the user wrote: on the command line and in the files that `--config`
    names."""
    texts = [
        value
        for path in configs
        for _, value in _values("", read_yaml(path))
        if isinstance(value, str)
    ]
    return {name for text in (*texts, *args) for name in DOTTED.findall(text)}


@contextmanager
def importing_only(by_hand: set[str]) -> Iterator[None]:
    """Inside, values may name blocklearn's own parts, torch's optimizers and what the user named,
    and nothing else: jsonargparse refuses every other import path before it is imported, and what a
    permitted path leads to elsewhere. There is no public way to take a permission back, so what was
    allowed before is put back by hand."""
    from jsonargparse import _common, set_parsing_settings

    before = (
        _common.parsing_settings["import_path_verdicts"],
        _common.parsing_settings["import_paths_enforced"],
    )
    try:
        _common.parsing_settings["import_path_verdicts"] = {}
        set_parsing_settings(
            import_path_denylist=["*"],
            import_path_allowlist=sorted(_own_parts() | _resolved(by_hand)),
        )
        yield
    finally:
        (
            _common.parsing_settings["import_path_verdicts"],
            _common.parsing_settings["import_paths_enforced"],
        ) = before


def _own_parts() -> set[str]:
    """Every class of blocklearn that a configuration is meant to name, and torch's optimizers, by
    all their paths."""
    import torch
    from torch import nn

    import blocklearn
    import blocklearn.criteria
    import blocklearn.data
    import blocklearn.evaluation
    import blocklearn.masks
    import blocklearn.metrics
    import blocklearn.objectives
    import blocklearn.optim
    from blocklearn.blocks.noise import Noise
    from blocklearn.data.datamodule import KeyedDataModule
    from blocklearn.data.view_recipe import ViewRecipe
    from blocklearn.evaluation import Evaluation
    from blocklearn.optim.warmup_cosine import LRSchedule
    from blocklearn.training.block_metric import BlockMetric
    from blocklearn.training.execution import Execution
    from blocklearn.training.schedule import Schedule

    packages = (
        blocklearn.criteria,
        blocklearn.data,
        blocklearn.evaluation,
        blocklearn.masks,
        blocklearn.metrics,
        blocklearn.objectives,
        blocklearn.optim,
    )
    bases = (
        nn.Module,
        torch.optim.Optimizer,
        Noise,
        Schedule,
        KeyedDataModule,
        ViewRecipe,
        LRSchedule,
        BlockMetric,
        Execution,
        Evaluation,
        blocklearn.masks.Mask,
    )
    found = {
        f"{package.__name__}.{name}": part
        for package in (*packages, blocklearn, torch.optim)
        for name in getattr(package, "__all__", None) or vars(package)
        if isinstance(part := getattr(package, name, None), type) and issubclass(part, bases)
    }
    canonical = {f"{part.__module__}.{part.__qualname__}" for part in found.values()}
    deeper = {
        f"{part.__module__}.{part.__qualname__}"
        for base in bases
        for part in _subclasses(base)
        if part.__module__.split(".")[:2] in (["blocklearn", package] for package in PACKAGES)
    }
    own = {"blocklearn.blocks.settings.BlockSettings", "blocklearn.BlockSettings"}  # `per_block`
    return set(found) | canonical | deeper | own


def _subclasses(base: type) -> set[type]:
    found: set[type] = set()
    waiting = [base]
    while waiting:
        new = set(type.__subclasses__(waiting.pop())) - found
        found |= new
        waiting += new
    return found


def _resolved(names: set[str]) -> set[str]:
    """Import paths, and where the class behind each is defined: both are asked for. What is not
    there is left out."""
    from jsonargparse._util import import_object

    allowed: set[str] = set()
    for name in names:
        try:
            part = import_object(name, check_path=False)
        except (ImportError, AttributeError, ValueError):
            continue
        defined = getattr(part, "__module__", None), getattr(part, "__qualname__", None)
        allowed |= {name} | ({".".join(defined)} if all(defined) else set())  # pyright: ignore[reportArgumentType, reportCallIssue]
    return {
        path
        for path in allowed
        if not path.startswith("jsonargparse") and all(p.isidentifier() for p in path.split("."))
    }


def refusal_of(config: Path, name: str) -> str:
    """The line about a part that a received configuration may not name."""
    key = where_named(config, name)
    return (
        f"config: {config}{f': {key}' if key else ''} names {name}, which is none of blocklearn's "
        "parts nor an optimizer of torch. It came with the checkpoint and could run anything: "
        "name your own configuration with --config FILE, or, where you know who wrote this one, "
        "add --trust_config true"
    )
