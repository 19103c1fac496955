"""Read YAML that may come from anybody: plain data of bounded size, every key once, and complaints
that name the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from blocklearn.errors import UserError

MAX_BYTES = 100_000  # a run's own configuration has about 5,000
MAX_VALUES = 20_000  # with aliases written out
MAX_DEPTH = 50
PLAIN = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp", "merge", "value")
}


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        UserError: naming file and line, for a file that cannot be read, is empty or holds no
            settings; for wrong syntax, tags, a key that stands twice in one mapping; and for one
            too large, too deep, or with aliases that would be.
    """
    text = _text_of(path)
    try:
        loader = _BoundedLoader(text, path)
        node = loader.get_single_node()
        if node is None:
            raise UserError(
                f"config: {path} is empty; it should hold settings, such as model: "
                f"{{backbone: resnet50}}"
            )
        _check(node, path)
        content = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        told = ": ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"config: {path}{place}: {told}") from error
    except UserError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"config: {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(
            f"config: {path} should hold settings as KEY: VALUE, it holds one "
            f"{type(content).__name__}"
        )
    return content


class _BoundedLoader(yaml.SafeLoader):
    """Composes no deeper than MAX_DEPTH, so that a deep file costs no more than its first
    levels."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self._path = path
        self._depth = -1

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            where = f"config: {self._path}{_place(self.peek_event().start_mark)}"
            raise UserError(f"{where}: nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UserError(
                f"config: {path} has more than {MAX_BYTES:,} bytes, too many for a configuration"
            )
        return raw.decode()
    except OSError as error:
        raise UserError(f"config: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"config: {path} is no text: {error.reason} at byte {error.start}"
        ) from error


def _check(root: yaml.Node, path: Path) -> None:
    """Every node once, however often it is referred to; sizes with the references written out, from
    the leaves up."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
            if sizes[id(node)] > MAX_VALUES:
                raise UserError(
                    f"config: {path}{_place(node.start_mark)}: more than {MAX_VALUES:,} values, "
                    "aliases counted"
                )
        elif id(node) in open_nodes:
            raise UserError(
                f"config: {path}{_place(node.start_mark)}: an alias that contains itself"
            )
        elif id(node) not in sizes:
            _check_node(node, path)
            open_nodes.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in _children(node)]


def _check_node(node: yaml.Node, path: Path) -> None:
    where = f"config: {path}{_place(node.start_mark)}"
    if node.tag not in PLAIN:
        raise UserError(
            f"{where}: the tag {node.tag!r} is refused, a configuration holds plain values only"
        )
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and seen.setdefault(key.value, key) is not key:
                first = seen[key.value].start_mark.line + 1
                raise UserError(
                    f"config: {path}{_place(key.start_mark)}: {key.value!r} stands in line {first} "
                    "already; one would replace the other, so put them together"
                )


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _place(mark: Any) -> str:
    return f", line {mark.line + 1}" if mark else ""
