"""Tables of which no number is cut, however narrow the terminal is."""

import re
from collections.abc import Sequence
from itertools import pairwise
from textwrap import TextWrapper

from rich.console import Console
from rich.table import Table

BORDER = 3  # characters between two columns
NARROWEST_NAME = 16  # characters; names are not broken into shorter pieces
WIDEST_NAME = 32  # characters, where the numbers need several tables anyway
NARROWEST_HEADING = 12  # characters of a run's name above its numbers
BREAKS = re.compile(r"(\s+|(?<=[=,/._-])(?=\w))")  # where names may be broken

Lines = Sequence[Sequence[str]]


def print_wide(header: Sequence[str], rows: Lines, title: str = "", may_turn: bool = False) -> None:
    """Names on the left, numbers on the right. Names are broken over several lines, and where that
    does not suffice the columns stand in several tables below each other.

    Args:
        header: names of the columns.
        rows: a text a column; the first is a name.
        title: above the tables.
        may_turn: whether lines and columns may change places where fewer tables then suffice.
    """
    room = Console().width
    lines = [header, *rows]
    parts = _parts(lines, room)
    if may_turn and len(parts) > 1:
        turned = _with_broken_headings([list(column) for column in zip(*lines, strict=True)])
        if len(_parts(turned, room)) < len(parts):
            lines, parts = turned, _parts(turned, room)
    width = _name_width(lines, room)
    for number, part in enumerate(parts):
        cells = [[line[0], *(line[column] for column in part)] for line in lines]
        needed = 4 + width + sum(own + BORDER for own in _widths(cells))
        table = _table(cells, width, title if not number else "")
        Console(width=max(room, needed)).print(table)


def _parts(lines: Lines, width: int) -> list[range]:
    """Columns that fit beside each other, about as many in each table."""
    widths = _widths(lines)
    room = width - 4 - _name_width(lines, width)
    if sum(own + BORDER for own in widths) <= room or not widths:
        return [range(1, len(widths) + 1)]
    tables = -(-len(widths) // max(1, room // (max(widths) + BORDER)))
    ends = [1 + len(widths) * number // tables for number in range(tables + 1)]
    return [range(*pair) for pair in pairwise(ends)]


def _name_width(lines: Lines, width: int) -> int:
    """Characters: what the numbers leave, but neither so few that nobody reads it nor so many that
    one table becomes several for the names alone."""
    left = width - 4 - sum(own + BORDER for own in _widths(lines))
    most = left if left >= NARROWEST_NAME else min(WIDEST_NAME, max(NARROWEST_NAME, width // 3))
    return min(most, max(len(line[0]) for line in lines))


def _widths(lines: Lines) -> list[int]:
    """Of the columns behind the first."""
    columns = list(zip(*lines, strict=True))[1:]
    return [max(len(piece) for cell in column for piece in cell.split("\n")) for column in columns]


def _with_broken_headings(lines: Lines) -> Lines:
    """Those above numbers, to about the width of these."""
    header, *rows = lines
    widths = [max(NARROWEST_HEADING, own) for own in _widths(rows)]
    broken = (_broken(name, own) for name, own in zip(header[1:], widths, strict=True))
    return [[header[0], *broken], *rows]


def _table(cells: Lines, width: int, title: str) -> Table:
    (heading, *columns), *rows = cells
    table = Table(title=title or None, title_justify="left")
    table.add_column(_broken(heading, width), no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, *values in rows:
        table.add_row(_broken(name, width), *values)
    return table


def _broken(name: str, width: int) -> str:
    """Over several lines, the later ones indented."""
    wrapper = TextWrapper(width, subsequent_indent=" ")
    wrapper.wordsep_re = BREAKS
    return "\n".join(wrapper.wrap(name)) or name
