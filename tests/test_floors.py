"""The rooms of the house: each imports only from the floors below it."""

import ast
from pathlib import Path

import pytest
from floors import BEGIN, END, FLOORS, PAGE, table

import blocklearn

PACKAGE = Path(blocklearn.__file__).parent
ROOM_FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_LIGHTNING = [
    "backbones",
    "criteria",
    "heads",
    "kernels",
    "optim",
    "weights",
    "blocks/noise.py",
    "distributed/collectives.py",
    "distributed/moments.py",
    "distributed/sync_norm.py",
    "objectives",
    "training/contract.py",
    "training/execution.py",
    "training/learner.py",
    "training/block_metric.py",
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
def test_a_file_stays_within_350_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


def test_the_architecture_page_has_the_table_of_this_test() -> None:
    assert PAGE.read_text().split(BEGIN)[1].split(END)[0] == table(), "python tests/floors.py"


def modules() -> dict[str, set[str]]:
    """By module, the modules of the package that it imports, for types too."""
    names = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in FILES
    }
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        found = {target.removeprefix("blocklearn.") for target in imports(path)}
        parents = {target.rpartition(".")[0] for target in found}
        graph[name] = {target for target in (found | parents) & names.keys() if target != name}
    return graph


def test_no_two_files_import_each_other_in_a_circle() -> None:
    graph, done = modules(), set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for target in sorted(graph[name]):
            visit(target, (*path, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())
