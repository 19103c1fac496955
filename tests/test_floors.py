"""The rooms of the house: each imports only from the floors below it."""

import ast
from pathlib import Path

import pytest

import blocklearn

PACKAGE = Path(blocklearn.__file__).parent
FLOORS = [
    {"errors", "seeding", "batch", "machine", "old_paths"},
    {"__init__"},
    {"optim"},
    {"distributed"},
    {"kernels"},
    {"backbones"},
    {"weights"},
    {"training"},
    {"criteria", "heads"},
    {"objectives"},
    {"blocks"},
    {"data"},
    {"interop"},
    {"evaluation"},
    {"reporting"},
    {"runs"},
    {"callbacks"},
    {"cli"},
    {"__main__"},
]
ROOM_FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_LIGHTNING = [
    "objectives",
    "optim",
    "distributed/collectives.py",
    "distributed/moments.py",
    "distributed/sync_norm.py",
    "backbones/stage.py",
    "blocks/noise.py",
    "objectives/objective.py",
]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_from_its_own_room_and_the_floors_below(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "blocklearn" or len(parts) == 1 or parts[1] == "__version__":
            continue
        target = parts[1]
        assert target == room(path) or ROOM_FLOOR[target] < ROOM_FLOOR[room(path)], (
            f"{path} imports {name}"
        )


@pytest.mark.parametrize("place", WITHOUT_LIGHTNING)
def test_the_ground_floors_know_nothing_of_lightning_or_wandb(place: str) -> None:
    paths = [PACKAGE / place] if place.endswith(".py") else sorted((PACKAGE / place).glob("*.py"))
    for path in paths:
        assert not {name.split(".")[0] for name in imports(path)} & {"lightning", "wandb"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_stays_under_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
