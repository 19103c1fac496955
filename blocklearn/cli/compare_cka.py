"""`blocklearn compare --cka`: how alike the stages of several runs are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from blocklearn.errors import UserError
from blocklearn.evaluation.cka_matrix import cka_matrix, write_matrix
from blocklearn.pictures.heat_map import draw_heat_map
from blocklearn.reporting.tables import print_table
from blocklearn.runs.run_folder import RunFolder


class Features(NamedTuple):
    """What `predict` wrote of a run.

    Args:
        stages: their global averages `(N, D)`, by name.
        samples: which samples they are of: data, splits and `(N,)` numbers in their split.
    """

    stages: Mapping[str, Tensor]
    samples: tuple[str, list[int]]


def compare_cka(runs: Mapping[str, Path], picture: Path) -> list[Path]:
    """Linear CKA of every stage of the first run with every stage of each other one, on the samples
    that `blocklearn predict` wrote the features of: a table, a heat map and a CSV file for each.

    Args:
        runs: their folders, by name; at least two.
        picture: the first picture; those of further runs have the run's name at their end.

    Raises:
        UserError: for runs without features, or with those of other samples.
    """
    if len(runs) < 2:
        raise UserError("compare: --cka needs two runs or more")
    read = {label: _read(label, path) for label, path in runs.items()}
    (first, one), *others = read.items()
    written = []
    for number, (label, other) in enumerate(others):
        if one.samples != other.samples:
            raise UserError(
                f"compare: the features of {first} and {label} are not of the same samples "
                f"({one.samples[0]} and {other.samples[0]}); run blocklearn predict with the same "
                "data and --split for both"
            )
        path = picture if not number else picture.with_stem(f"{picture.stem}_{label}")
        written += _compare(first, one.stages, label, other.stages, path)
    return written


def _compare(
    first: str, one: Mapping[str, Tensor], label: str, other: Mapping[str, Tensor], path: Path
) -> list[Path]:
    finite = torch.stack([x.isfinite().all(1) for x in (*one.values(), *other.values())]).all(0)
    rows, columns = ([x[finite] for x in run.values()] for run in (one, other))
    if int(finite.sum()) < 2:
        raise UserError(
            f"compare: {first} and {label} have fewer than two samples whose features are finite"
        )
    found = cka_matrix(rows, columns)
    title = f"Linear CKA, {first} (rows) and {label}"
    lines = [(name, *(f"{v:.2f}" for v in line)) for name, line in zip(one, found, strict=True)]
    print_table(title, (first, *other), lines)
    table = write_matrix(path.with_suffix(".csv"), found, list(one), list(other))
    text = (
        f"How alike each of {len(one)} stages of {first} and {len(other)} of {label} are on "
        f"{int(finite.sum())} samples, from 0 to 1; the last two have {found[-1][-1]:.2f}."
    )
    drawn = draw_heat_map(found, list(one), list(other), path, title, text, (first, label))
    return [drawn, table]


def _read(label: str, folder: Path) -> Features:
    path = RunFolder(folder).features
    if not path.is_file():
        raise UserError(
            f"compare: {label} has no {path}; write it: blocklearn predict --model.checkpoint "
            f"{RunFolder(folder).last_checkpoint} --split test"
        )
    try:
        with safe_open(path, "pt") as file:
            about = {key: _plain(text) for key, text in (file.metadata() or {}).items()}
            raw = [f for f in about["features"] if f["kind"] == "raw"]
            stages = {f["stage"]: file.get_tensor(f["key"]) for f in raw}
            index = file.get_tensor("index").tolist()
    except Exception as error:  # safetensors raises its own
        raise UserError(f"compare: cannot read {path}: {error!r}; run predict again") from error
    return Features(stages, (f"{about.get('data')}, {about['splits']}", index))


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
