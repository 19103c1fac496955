"""Read YAML that may come from anybody: plain data of bounded size, every key once, and complaints that name the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from blocklearn.errors import UserError

MAX_BYTES = 100_000  # a run's own configuration has about 5,000
MAX_VALUES = 20_000  # with aliases written out
MAX_DEPTH = 50
MAX_BRACKETS = 5_000  # the parser is slow where they are nested
PLAIN = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("null", "bool", "int", "float", "str", "seq", "map", "timestamp", "merge", "value")
}


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        UserError: naming file and line, for a file that cannot be read, is empty or holds no settings; for wrong syntax,
            tags, a key that stands twice in one mapping; and for one too large, too deep, or with aliases that would be.
    """
    text = _text_of(path)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise UserError(f"config: {path} is empty; it should hold settings, such as model: {{backbone: resnet50}}")
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
    except RecursionError as error:
        raise UserError(f"config: {path} is nested deeper than {MAX_DEPTH} levels") from error
    if not isinstance(content, dict):
        raise UserError(f"config: {path} should hold settings as KEY: VALUE, it holds one {type(content).__name__}")
    return content


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UserError(f"config: {path} has more than {MAX_BYTES:,} bytes, too many for a configuration")
        if raw.count(b"[") + raw.count(b"{") > MAX_BRACKETS:
            raise UserError(f"config: {path} has more than {MAX_BRACKETS:,} brackets; is it nested deeper than meant?")
        return raw.decode()
    except OSError as error:
        raise UserError(f"config: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"config: {path} is no text: {error.reason} at byte {error.start}") from error


def _check(root: yaml.Node, path: Path) -> None:
    """Every node once, however often it is referred to; sizes with the references written out, from the leaves up."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, int, bool]] = [(root, 0, False)]
    while stack:
        node, depth, leaving = stack.pop()
        if leaving:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
            if sizes[id(node)] > MAX_VALUES:
                raise UserError(
                    f"config: {path}{_place(node.start_mark)}: more than {MAX_VALUES:,} values, aliases counted"
                )
        elif id(node) in open_nodes:
            raise UserError(f"config: {path}{_place(node.start_mark)}: an alias that contains itself")
        elif id(node) not in sizes:
            _check_node(node, depth, path)
            open_nodes.add(id(node))
            stack.append((node, depth, True))
            stack += [(child, depth + 1, False) for child in _children(node)]


def _check_node(node: yaml.Node, depth: int, path: Path) -> None:
    where = f"config: {path}{_place(node.start_mark)}"
    if depth > MAX_DEPTH:
        raise UserError(f"{where}: nested deeper than {MAX_DEPTH} levels")
    if node.tag not in PLAIN:
        raise UserError(f"{where}: the tag {node.tag!r} is refused, a configuration holds plain values only")
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and seen.setdefault(key.value, key) is not key:
                first = seen[key.value].start_mark.line + 1
                raise UserError(
                    f"config: {path}{_place(key.start_mark)}: {key.value!r} stands in line {first} already; one would "
                    "replace the other, so put them together"
                )


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _place(mark: Any) -> str:
    return f", line {mark.line + 1}" if mark else ""
