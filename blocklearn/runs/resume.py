"""What a run that goes on may change: its settings beside those of the run that wrote the
checkpoint."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blocklearn.blocks.old_arguments import LISTS, renewed, renewed_flag
from blocklearn.errors import UserError
from blocklearn.runs.run_folder import RunFolder
from blocklearn.weights.checkpoint import read_checkpoint

PER_BLOCK = "model.per_block"
RUN = "blocklearn_run"  # the checkpoint's key for what it was trained with
ACCEPT = "--accept_changes true"
DECISIVE = (
    "seed_everything",
    "model",
    "data",
    "trainer.precision",
    "trainer.limit_train_batches",
    "trainer.deterministic",
)
SILENT = (  # where data and files lie, and how fast it goes
    "data.init_args.root",
    "data.init_args.probe_root",
    "data.init_args.cache_dir",
    "data.init_args.download",
    "data.init_args.num_workers",
    "data.init_args.max_corrupt",
    "model.checkpoint",
    "model.recompute",
    "model.metrics",
    "model.network.compile",
    "model.update.non_finite",
    "model.update.non_finite_limit",
)
LONGER = ": learning-rate curve and windows are those of the new length"
BUDGET = ("trainer.max_epochs", "trainer.max_steps")
FIXED = {
    "data.init_args.batch_size": "batches already counted had the other size",
    "model.optimizer.class_path": "its state is another's",
}


class Change(NamedTuple):
    """One setting that is not what it was.

    Attributes:
        key: dotted, as in `config.yaml`.
        before: in the run that wrote the checkpoint.
        now: in this one.
    """

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} {_told(self.before)} -> {_told(self.now)}"


class GoingOn(NamedTuple):
    """How a run begins.

    Attributes:
        checkpoint: the state to go on from; None for a run from its beginning.
        step: batches that are done in it.
        changes: settings that are not what they were.
        accepted: whether `--accept_changes true` says that they may.
    """

    checkpoint: str | None
    step: int | None = None
    changes: Sequence[Change] = ()
    accepted: bool = False


def go_on_from(config: Any, plain: Mapping[str, Any]) -> GoingOn:
    """Which checkpoint `fit` goes on from, and whether this configuration may.

    Args:
        config: of the command: `ckpt_path`, `resume`, `accept_changes` and
            `trainer.default_root_dir`.
        plain: the run's configuration as plain data.

    Raises:
        UserError: for a run that is there already, a folder that is not named, a checkpoint that
            cannot be read, and changes that were not asked for.
    """
    given, asked = (
        config.trainer.default_root_dir,
        "--resume auto" if config.resume else "--ckpt_path last",
    )
    if (config.resume or config.ckpt_path == "last") and not given:
        raise UserError(
            f"{asked} needs the run to go on with: --trainer.default_root_dir RUN_FOLDER"
        )
    latest = RunFolder(Path(given)).latest_checkpoint() if given else None
    path = config.ckpt_path
    if path == "last":
        path = latest or RunFolder(Path(given)).last_checkpoint
    elif config.resume and not path:
        path = latest
    if path:
        checkpoint = read_checkpoint(path)
        changes = changes_since(checkpoint, plain)
        accept(changes, config.accept_changes)
        return GoingOn(str(path), checkpoint["global_step"], changes, config.accept_changes)
    if latest:
        raise UserError(
            f"{given} holds a trained run already: go on with --resume auto, or choose another "
            "--trainer.default_root_dir"
        )
    return GoingOn(None)


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what a run learns, by dotted key."""
    flat = dict(_flat("", config))
    flat[PER_BLOCK] = _plain_blocks((config.get("model") or {}).get("per_block"))
    return {
        key: value
        for key, value in flat.items()
        if _within(key, DECISIVE + BUDGET) and not _within(key, SILENT)
    }


def changes_since(checkpoint: Mapping[str, Any], config: Mapping[str, Any]) -> list[Change]:
    """Where a run's settings differ from those that a checkpoint was trained with; empty for a
    checkpoint that says nothing of them.

    Raises:
        UserError: where what it says is damaged.
    """
    about = checkpoint.get(RUN)
    if about is None:
        return []
    try:
        before = _as_today(dict(json.loads(about["settings"])))
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"resume: the checkpoint's entry {RUN} is damaged ({error})") from error
    now = json.loads(json.dumps(deciding(config)))
    shared = [Change(key, before[key], now[key]) for key in before.keys() & now.keys()]
    replaced = [Change(key, before[key], _part(key, now)) for key in before if _part(key, now)]
    replaced += [Change(key, _part(key, before), now[key]) for key in now if _part(key, before)]
    # A key on one side alone is an argument that another version of blocklearn does not have, or of
    # another class.
    changed = (change for change in (*shared, *replaced) if not _agree(change.before, change.now))
    return sorted(changed, key=lambda change: change.key)


def accept(changes: Sequence[Change], accepted: bool) -> list[str]:
    """The lines that tell what is different from here on. A longer or shorter run is always
    accepted.

    Raises:
        UserError: for the changes that were not asked for by `--accept_changes true`, or make no
            sense, with both values.
    """
    fixed = [change for change in changes if change.key in FIXED]
    if fixed:
        raise UserError(
            f"resume: {fixed[0].key} is {_told(fixed[0].now)} here and was "
            f"{_told(fixed[0].before)} in the checkpoint's run; {FIXED[fixed[0].key]}: go on with "
            "that, or begin a new run from its weights with --model.checkpoint"
        )
    others = [change for change in changes if change.key not in BUDGET]
    if others and not accepted:
        more = f", and {len(others) - 1} more settings differ" if len(others) > 1 else ""
        raise UserError(
            f"resume: {others[0].key} is {_told(others[0].now)} here and was "
            f"{_told(others[0].before)} in the checkpoint's run{more}; go on with what it was, or "
            f"accept what is new from here on with {ACCEPT}"
        )
    return [f"{change}{LONGER if change.key in BUDGET else ''}" for change in changes]


def require_same_processes(checkpoint: Mapping[str, Any], now: int, accepted: bool) -> None:
    """Raises:
    UserError: where a run goes on with another number of processes and that was not accepted.
    """
    before = (checkpoint.get(RUN) or {}).get("processes", now)
    if before != now and not accepted:
        raise UserError(
            f"resume: {now} processes here, {before} in the checkpoint's run: feature noise "
            f"depends on the process; go on with {before} (--trainer.devices), or accept it with "
            f"{ACCEPT}"
        )


def write_down(changes: Sequence[Change], step: int, path: Path) -> None:
    """Append changes to a table in the run's folder: from which batch on, which setting, before and
    now."""
    if path.is_symlink():
        raise UserError(f"resume: {path} is a link, and nothing is written through one; remove it")
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("step", "setting", "before", "now")] if new else [])
        writer.writerows(
            (step, change.key, _told(change.before), _told(change.now)) for change in changes
        )


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            if f"{key}.{name}" != PER_BLOCK:
                yield from _flat(f"{key}.{name}".lstrip("."), inner)
    else:
        yield key, value


def _plain_blocks(blocks: Any) -> dict[str, Any]:
    """What blocks differ in, without what is no difference or does not decide."""
    return {
        name: kept
        for name, own in (blocks or {}).items()
        if (kept := {k: v for k, v in own.items() if v not in (None, 1) and k != "recompute"})
    }


def _as_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run of blocklearn 0.1 under the keys of today."""
    lists = {name: settings.get(f"model.{name}") for name in LISTS}
    blocks, _ = renewed({n: entries for n, entries in lists.items() if isinstance(entries, list)})
    today = {renewed_flag(f"--{key}")[2:]: value for key, value in settings.items()}
    for name, entries in lists.items():
        if isinstance(entries, list) or name not in ("noise", "recompute"):
            today.pop(f"model.{name}", None)
    return {PER_BLOCK: _plain_blocks(blocks.get("per_block")), **today}


def _same_part(value: Any) -> Any:
    """Our own classes have several paths: `blocklearn.LARS` is `blocklearn.optim.LARS`."""
    if isinstance(value, Mapping):
        return {key: _same_part(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_same_part(inner) for inner in value]
    own = isinstance(value, str) and value.startswith("blocklearn.")
    return value.rpartition(".")[2].removesuffix("Schedule") if own else value


def _agree(before: Any, now: Any, arguments: bool = False) -> bool:
    """Whether two settings are the same, where an argument of a part that one side alone has is
    another version's."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = before.keys() & now.keys() if arguments else before.keys() | now.keys()
        return all(_agree(before.get(n), now.get(n), n == "init_args") for n in names)
    return _same_part(before) == _same_part(now)


def _part(key: str, settings: Mapping[str, Any]) -> Any:
    """The class that stands where another run has a plain value."""
    return settings.get(f"{key}.class_path")


def _within(key: str, parts: tuple[str, ...]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)


def _told(value: Any) -> str:
    return "not set" if value is None else str(value)
