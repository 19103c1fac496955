"""Arguments of `BlockwiseModule` as they were before 0.2, accepted for one version: in Python, in
configurations and as flags."""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from blocklearn.old_paths import new_path

MOVED = {  # into which group
    **dict.fromkeys(
        (
            "backbone_kwargs",
            "small_stem",
            "patches",
            "pretrained",
            "identical_projectors",
            "channels_last",
            "compile",
        ),
        "network",
    ),
    **dict.fromkeys(
        (
            "lr_reference_batch",
            "gradient_clip_norm",
            "accumulate_batches",
            "non_finite",
            "non_finite_limit",
        ),
        "update",
    ),
}
LISTS = {  # one entry per block
    "objectives": "objective",
    "projectors": "projector",
    "lr_factors": "lr_factor",
    "loss_weights": "loss_weight",
    "stop_epochs": "stop_epoch",
    "noise": "noise",
    "recompute": "recompute",
}


OF_FINE_TUNING = {"finetune", "backbone_lr"}


def renewed(model: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The same settings under the names of today, and what to write in place of each old one."""
    new = {name: value for name, value in model.items() if not _is_old(name, value)}
    told: list[str] = []
    for name, value in model.items():
        if not _is_old(name, value):
            continue
        if name in MOVED:
            group = new.get(MOVED[name]) or {}
            new[MOVED[name]] = {**_plain(group), name: value}
            told.append(f"{name} -> {MOVED[name]}: {{{name}: ...}}")
        elif value is not None:
            blocks = dict(new.get("per_block") or {})
            for number, entry in enumerate(value, start=1):
                own = _plain(blocks.get(f"block{number}") or {})
                blocks[f"block{number}"] = own if entry is None else {**own, LISTS[name]: entry}
            new["per_block"] = blocks
            first = next((n for n, entry in enumerate(value, start=1) if entry is not None), 1)
            told.append(f"{name} -> per_block: {{block{first}: {{{LISTS[name]}: ...}}, ...}}")
    return new, told


def renewed_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The same for a whole configuration: its `model` section, and class paths that have moved."""
    new, told = _moved(config), []
    if isinstance(new.get("model"), Mapping):
        new["model"], told = renewed(new["model"])
        told = [f"model: {line}" for line in told]
    if isinstance(new.get("probe"), Mapping) and OF_FINE_TUNING & new["probe"].keys():
        told += _choose_fine_tuning(new)
    return new, told


def _choose_fine_tuning(config: dict[str, Any]) -> list[str]:
    """`finetune: true` among the settings of probes is an evaluation of its own."""
    probe = dict(config["probe"])
    rate, tunes = probe.pop("backbone_lr", None), probe.pop("finetune", False)
    config["probe"] = probe
    if not tunes:
        return []
    arguments = {} if rate is None else {"backbone_lr": rate}
    chosen = {"class_path": "blocklearn.evaluation.FineTune", "init_args": arguments}
    config.setdefault("evaluation", chosen)
    return ["probe: finetune -> evaluation: FineTune"]


def renewed_flag(flag: str) -> str:
    """`--model.small_stem` is `--model.network.small_stem`; any other flag stays as it is."""
    for name in ("Sequential", "Simultaneous"):
        if flag in (f"--model.schedule={name}", f"--model.schedule {name}"):
            return f"--model.schedule={name}Schedule"
    if flag.startswith("--probe.backbone_lr"):
        return flag.replace("--probe.", "--evaluation.")
    if flag in ("--probe.finetune=true", "--probe.finetune=True"):
        return "--evaluation=FineTune"
    words = flag.split(".")
    if words[0] == "--model" and len(words) > 1 and words[1].partition("=")[0] in MOVED:
        return ".".join([words[0], MOVED[words[1].partition("=")[0]], *words[1:]])
    return flag


def accept_old_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """For `BlockwiseModule.__init__`: keyword arguments of before 0.2 are taken too, and one line
    says what to write."""

    @functools.wraps(init)
    def renewing(self: Any, *args: Any, **kwargs: Any) -> None:
        if any(_is_old(name, value) for name, value in kwargs.items()):
            kwargs, told = renewed(kwargs)
            tell([f"model: {line}" for line in told])
            kwargs = _as_classes(kwargs)
        init(self, *args, **kwargs)

    return renewing


def tell(lines: list[str]) -> None:
    """One line on the error stream; nothing for nothing."""
    if lines:
        print(f"blocklearn: since 0.2 written so: {'; '.join(lines)}", file=sys.stderr)


def _is_old(name: str, value: Any) -> bool:
    if name in ("noise", "recompute"):
        return isinstance(value, list)
    return name in MOVED or name in LISTS


def _plain(group: Any) -> dict[str, Any]:
    """Of a mapping, or of a settings class those that are set."""
    return dict(group) if isinstance(group, Mapping) else dict(vars(group))


def _as_classes(kwargs: dict[str, Any]) -> dict[str, Any]:
    from blocklearn.blocks.settings import BlockSettings, NetworkOptions, UpdateOptions

    for name, kind in (("network", NetworkOptions), ("update", UpdateOptions)):
        if isinstance(kwargs.get(name), Mapping):
            kwargs[name] = kind(**kwargs[name])
    blocks = kwargs.get("per_block") or {}
    kwargs["per_block"] = {
        name: BlockSettings(**own) if isinstance(own, Mapping) else own
        for name, own in blocks.items()
    }
    return kwargs


def _moved(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: new_path(inner)
            if key == "class_path" and isinstance(inner, str)
            else _moved(inner)
            for key, inner in value.items()
        }
    return [_moved(inner) for inner in value] if isinstance(value, list) else value
