"""`blocklearn help recipes`: what ships with the package, and what each is."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from blocklearn.runs.run_folder import shipped_configs

TITLES = {
    "": "Recipes (blocklearn fit --config NAME)",
    "probe_": "Evaluations (blocklearn test --model.checkpoint FILE --config NAME)",
    "methods/": "Methods, to put upon any of these (--config methods/NAME.yaml)",
    "ways/": "Ways of training, to put upon some of these (--config ways/NAME.yaml)",
    "sweeps/": "Sweeps (blocklearn ablate NAME)",
}


def list_recipes() -> str:
    """Every shipped file by the name that `--config` takes, with the first sentence of its
    opening."""
    lines = [f"They lie in {shipped_configs()}; a file of yours of the same name comes first."]
    for kind, title in TITLES.items():
        entries = [line for path in _files(kind) for line in _entry(path)]
        lines += ["", f"{title}:", *entries] if entries else []
    return "\n".join(lines) + "\n"


def _files(kind: str) -> list[Path]:
    folder = shipped_configs()
    if kind.endswith("/"):
        return sorted((folder / kind).glob("*.yaml"))
    found = sorted(folder.glob("*.yaml"))
    return [path for path in found if path.name.startswith("probe_") == (kind == "probe_")]


def _entry(path: Path) -> Iterator[str]:
    yield f"  {path.stem}"
    yield from textwrap.wrap(
        opening(path), 80, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )


def opening(path: Path) -> str:
    """The first sentence of the comment at the top of a file."""
    with path.open(encoding="utf-8") as file:
        comment = " ".join(line.removeprefix("#").strip() for line in _comment(file))
    sentence = re.split(r"(?<=[\w)])\.\s|: (?=ResNet-)", comment, maxsplit=1)[0]
    return sentence.rstrip(".")


def _comment(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#") or re.match(r"# (Cost|Expected|Command):", line):
            return
        yield line
