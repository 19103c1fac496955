"""Progress as a person at a terminal sees it, and as a log keeps it."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from blocklearn.callbacks.progress_figures import Progress, figure_lines, figures_in_line

BETWEEN_FRAMES = 0.25  # seconds
BETWEEN_LINES, AT_LEAST = 60.0, 300.0  # seconds; the first where a tenth of an epoch is over
MOST_LINES = 10  # of a classifier's training, of which nobody needs every epoch


class View(Protocol):
    """What shows progress."""

    def show(self, now: Progress, metrics: Mapping[str, float], hard: bool = False) -> None:
        """In the middle of a stage; at once where `hard` says so."""

    def end(self, now: Progress, metrics: Mapping[str, float], line: bool) -> None:
        """Of a stage or an epoch; `line` says whether a log has a line of it."""

    def hide(self, what: str) -> None:
        """A stage that is over, within another."""

    def stop(self) -> None:
        """Nothing more is shown. It may be called twice."""


def choose_view() -> View:
    """For where standard output leads."""
    console = _Console(file=sys.stdout)
    return OnTerminal(console) if sys.stdout.isatty() and not console.is_dumb_terminal else InLog()


class InLog:
    """A line an epoch; in long ones a line now and then, so that it is seen to be alive."""

    def __init__(self) -> None:
        self.last, self.tenth = time.monotonic(), 0

    def show(self, now: Progress, metrics: Mapping[str, float], hard: bool = False) -> None:
        tenth = int(10 * now.done / now.total)
        since = time.monotonic() - self.last
        if since > AT_LEAST or (since > BETWEEN_LINES and tenth != self.tenth):
            self._say(f"{now.what}, {now.batches}" if metrics else now.what, now, metrics)
        self.tenth = tenth

    def end(self, now: Progress, metrics: Mapping[str, float], line: bool) -> None:
        if line:
            self._say(now.what, now, metrics)

    def hide(self, what: str) -> None:
        pass

    def stop(self) -> None:
        pass

    def _say(self, what: str, now: Progress, metrics: Mapping[str, float]) -> None:
        self.last = time.monotonic()
        told = f"{now.batches} {now.pace}"
        if metrics:
            told = f"{figures_in_line(metrics)}; {now.pace}"
        print(f"{what}: {told}", flush=True)


class OnTerminal:
    """A bar per stage, and every block's figures below them. No thread draws it, so that processes
    that are forked meanwhile inherit no lock."""

    def __init__(self, console: Console) -> None:
        self.bars = _Bars(console)
        self.bars.start()
        self.tasks: dict[str, TaskID] = {}
        self.last = 0.0

    def show(self, now: Progress, metrics: Mapping[str, float], hard: bool = False) -> None:
        kind = now.what.partition(" ")[0]
        if kind not in self.tasks:
            self.tasks[kind] = self.bars.add_task(now.what, total=None, batches="", pace="")
            hard = True
        self.bars.metrics = metrics
        if not hard and time.monotonic() - self.last < BETWEEN_FRAMES:
            return
        total = None if now.total == float("inf") else now.total
        told = {"description": now.what, "batches": now.batches, "pace": now.pace}
        self.bars.update(self.tasks[kind], completed=now.done, total=total, **told)  # pyright: ignore
        self.bars.refresh()
        self.last = time.monotonic()

    def end(self, now: Progress, metrics: Mapping[str, float], line: bool) -> None:
        self.show(now, metrics, hard=True)

    def hide(self, what: str) -> None:
        if what in self.tasks:
            self.bars.remove_task(self.tasks.pop(what))
            self.bars.refresh()

    def stop(self) -> None:
        self.bars.stop()


class _Console(Console):
    """The cursor stays, so that a run that is killed leaves a terminal that has one."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class _Bars(RichProgress):
    def __init__(self, console: Console) -> None:
        self.metrics: Mapping[str, float] = {}
        self.screen = console
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[batches]}"),
            TextColumn("{task.fields[pace]}"),
        ]
        super().__init__(*columns, console=console, auto_refresh=False, expand=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        size = self.screen.size
        if self.metrics:
            lines = figure_lines(self.metrics, size.width, size.height - 3)
            yield Text("\n".join(lines), no_wrap=True)
