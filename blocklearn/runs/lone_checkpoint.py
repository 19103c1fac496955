"""A checkpoint of a plain Lightning Trainer: neither run folder nor configuration around it."""

import sys
from pathlib import Path
from typing import Any

import yaml

from blocklearn.errors import UserError, in_one_line
from blocklearn.runs.received import ADDRESS

NO_OBJECTIVE = "blocklearn.objectives.objective.NoObjective"


def settings_of_checkpoint(path: Path, data_named: bool) -> str | None:
    """What the file itself says of its network and its data, as a configuration in YAML; None where
    nothing of ours wrote it: no fit, no Trainer on a `BlockwiseModule`, no export. Nothing in it is
    believed but plain values, and no class is imported that is none of `blocklearn.data`.

    Args:
        path: of the checkpoint, or of a folder that `blocklearn export` wrote.
        data_named: whether the command says what data to evaluate on.

    Raises:
        UserError: for a file that cannot be read, and where the data are not known.
    """
    from blocklearn.interop.trained_weights import read_structure
    from blocklearn.weights.checkpoint import STRUCTURE, is_checkpoint, read_weights

    content = read_weights(path)
    structure = content[STRUCTURE] if is_checkpoint(content) else read_structure(path)
    if structure is None:
        return None
    settings: dict[str, Any] = {"model": _model_of(structure)}
    told = f"{path}: no config.yaml beside it, so the stages alone, no pooling heads"
    if not data_named:
        settings["data"] = _data_of(content, path)
        told += f", on {in_one_line(yaml.safe_dump(settings['data'], default_flow_style=True))}"
    print(f"{told} (--config names a configuration)", file=sys.stderr)
    return yaml.safe_dump(settings, sort_keys=False)


def _data_of(content: dict[str, Any], path: Path) -> dict[str, Any]:
    import blocklearn.data
    from blocklearn.data.remembered import ARGUMENTS, REMEMBERED

    states = [value for value in content.values() if isinstance(value, dict)]
    state: Any = next((one[REMEMBERED] for one in states if REMEMBERED in one), None)
    room, _, name = str(state["class_path"] if _says(state) else "").rpartition(".")
    if not room.startswith("blocklearn.data") or name not in blocklearn.data.__all__:
        what = f"it was trained on {in_one_line(name)}" if name else "it does not say on what data"
        raise UserError(
            f"checkpoint: {path} has no config.yaml beside it, and {what}: name the data, e.g. "
            "--data Digits, or the run's configuration with --config"
        )
    plain = {key: state[key] for key in ARGUMENTS if isinstance(state.get(key), (str, int, float))}
    kept = {key: value for key, value in plain.items() if not ADDRESS.match(str(value))}
    return {"class_path": f"blocklearn.data.{name}", "init_args": kept}


def _says(state: Any) -> bool:
    return isinstance(state, dict) and isinstance(state.get("class_path"), str)


def _model_of(structure: Any) -> dict[str, Any]:
    return {
        "backbone": structure.backbone,
        "blocks": [list(block) for block in structure.blocks] or "per_stage",
        "network": {
            "backbone_kwargs": dict(structure.backbone_kwargs),
            "small_stem": structure.small_stem,
            "patches": structure.patches,
        },
        "objective": {"class_path": NO_OBJECTIVE},
    }
