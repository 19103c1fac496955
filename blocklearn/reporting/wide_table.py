"""Tables of which no number is cut, however narrow the terminal is."""

import re
from collections.abc import Sequence
from itertools import pairwise
from textwrap import TextWrapper

from rich.console import Console
from rich.table import Table
from rich.text import Text

BORDER = 3  # characters between two columns
NARROWEST_NAME = 16  # characters; names are not broken into shorter pieces
WIDEST_NAME = 32  # characters, where the numbers need several tables anyway
NARROWEST_HEADING = 9  # characters of a heading that is wider than what stands below it
BREAKS = re.compile(r"(\s+|(?<=[=,/._+-])(?=\w))")  # where names may be broken

Lines = Sequence[Sequence[str]]


def print_wide(
    header: Sequence[str],
    rows: Lines,
    title: str = "",
    may_turn: bool = False,
    names: int = 1,
) -> None:
    """Names on the left, numbers on the right. Where that is too wide, headings and the first names
    are broken over several lines, and then the columns stand in several tables below each other.

    Args:
        header: names of the columns.
        rows: a text a column.
        title: above the tables.
        may_turn: whether lines and columns may change places where fewer tables then suffice.
        names: how many columns in front say what a line is; each table has them.
    """
    room = Console().width
    lines = _narrowed([header, *rows], room, names)
    parts = _parts(lines, room, names)
    if may_turn and len(parts) > 1:
        turned = _narrowed(list(zip(header, *rows, strict=True)), room, names)
        if len(_parts(turned, room, names)) < len(parts):
            lines, parts = turned, _parts(turned, room, names)
    width = _name_width(lines, room, names)
    if title:
        Console().print(title, markup=False, highlight=False)
    for part in parts:
        cells = [[*line[:names], *(line[column] for column in part)] for line in lines]
        needed = 1 + width + BORDER + sum(own + BORDER for own in _widths(cells)[1:])
        table = _table(cells, width, names)
        Console(width=max(room, needed)).print(table)


def _narrowed(lines: Lines, room: int, names: int) -> Lines:
    """As they are where they fit; with headings broken to about the width of their columns, where
    they do not."""
    if len(_parts(lines, room, names)) == 1:
        return lines
    header, *rows = lines
    widths = [max(NARROWEST_HEADING, own) for own in _widths(rows)]
    broken = [_broken(name, own) for name, own in zip(header[1:], widths[1:], strict=True)]
    return [[header[0], *broken], *rows]


def _parts(lines: Lines, room: int, names: int) -> list[range]:
    """Columns that fit beside each other, about as many in each table."""
    fixed, widths = _widths(lines)[1:names], _widths(lines)[names:]
    left = room - 1 - BORDER - _name_width(lines, room, names) - sum(own + BORDER for own in fixed)
    if sum(own + BORDER for own in widths) <= left or not widths:
        return [range(names, names + len(widths))]
    tables = -(-len(widths) // max(1, left // (max(widths) + BORDER)))
    ends = [names + len(widths) * number // tables for number in range(tables + 1)]
    return [range(*pair) for pair in pairwise(ends)]


def _name_width(lines: Lines, room: int, names: int) -> int:
    """Characters: what the numbers leave, but neither so few that nobody reads it nor so many that
    one table becomes several for the names alone."""
    left = room - 1 - BORDER - sum(own + BORDER for own in _widths(lines)[1:])
    most = left if left >= NARROWEST_NAME else min(WIDEST_NAME, max(NARROWEST_NAME, room // 3))
    return min(most, _widths(lines)[0])


def _widths(lines: Lines) -> list[int]:
    """Of the columns."""
    columns = zip(*lines, strict=True)
    return [max(len(piece) for cell in column for piece in cell.split("\n")) for column in columns]


def _table(cells: Lines, width: int, names: int) -> Table:
    (heading, *columns), *rows = cells
    table = Table()
    table.add_column(Text(_broken(heading, width)), no_wrap=True)
    for number, name in enumerate(columns, 1):
        table.add_column(Text(name), justify="left" if number < names else "right", no_wrap=True)
    for name, *values in rows:
        table.add_row(Text(_broken(name, width)), *map(Text, values))
    return table


def _broken(name: str, width: int) -> str:
    """Over several lines, the later ones indented, where it is wider."""
    if len(name) <= width:
        return name
    wrapper = TextWrapper(width, subsequent_indent=" ")
    wrapper.wordsep_re = BREAKS
    return "\n".join(wrapper.wrap(name)) or name
