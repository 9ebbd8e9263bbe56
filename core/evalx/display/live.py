"""A table on the terminal that redraws itself: one row per task, never more rows than the terminal has."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from evalx.display.base import Display, RunFacts
from evalx.display.model import Board, Task, group
from evalx.display.text import clean, duration, line
from evalx.model import Event

STYLES = {"running": "cyan", "waiting": "dim", "scored": "green", "failed": "bold red", "cancelled": "yellow"}

ORDER = ("failed", "running", "cancelled", "waiting", "scored")

FRAME = 5
"""Lines that are not rows of tasks: title, headings, the rest's summary, the notice, and one to keep the terminal from scrolling."""


class LiveDisplay(Display):
    """console: where to draw; by default stderr, without colour if NO_COLOR is set."""

    def __init__(self, *, notice: str | None = None, console: Console | None = None) -> None:
        super().__init__(notice=notice)
        self.console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None

    def opened(self, run: RunFacts, board: Board) -> None:  # noqa: ARG002
        self.console.print(Text(f"run {run.run_id}  {clean(run.directory)}"), soft_wrap=True)
        self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=4, transient=True, vertical_overflow="crop")
        self._live.start()

    def warned(self, event: Event) -> None:
        about = f"{line(event.name)}: " if event.name else ""
        self.console.print(Text(f"warning: {about}{line(event.reason or '')}", style="yellow"))

    def asked(self, question: str | None) -> None:
        if self._live is None:
            super().asked(question)
        else:
            self._live.refresh()

    def tell(self, text: str) -> None:
        self.console.print(Text(text))

    def closed(self) -> None:
        if self._live is not None:
            self._live.stop()

    def render(self) -> RenderableType:
        """The whole picture for the console's present size."""
        with self.lock:
            return Text() if self.board is None else self._picture(self.board)

    def _picture(self, board: Board) -> RenderableType:
        rows = fitting(board, max(1, self.console.height - FRAME))
        now = time.time()
        table = _table(self.console.width)
        for task in rows:
            table.add_row(*_cells(board, task, now))
        hidden = len(board.tasks) - len(rows)
        rest = [Text(f"… and {hidden} more", style="dim")] if hidden else []
        return Group(_title(board, now), table, *rest, self._foot(board))

    def _foot(self, board: Board) -> Text:
        style = "dim" if self._question is None else "bold yellow"
        return Text(self.notice(board), style=style, no_wrap=True, overflow="ellipsis")


def fitting(board: Board, room: int) -> list[Task]:
    """The tasks to show in that many rows, in the order of the plan: failed and running ones win over waiting and scored ones."""
    tasks = list(board.tasks.values())
    if len(tasks) <= room:
        return tasks
    urgent = sorted(range(len(tasks)), key=lambda index: (ORDER.index(group(tasks[index])), index))[:room]
    return [tasks[index] for index in sorted(urgent)]


def _title(board: Board, now: float) -> Text:
    run = board.run
    elapsed = duration(0 if run.began is None else now - run.began)
    state = "" if run.state in ("planned", "active") else f"  {run.state}" + (f": {run.reason}" if run.reason else "")
    return Text(f"{board.summary()}  {elapsed}{state}", no_wrap=True, overflow="ellipsis")


def _table(width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", width=width)
    name, endpoint = (24, 16) if width >= 100 else (18, 14)
    table.add_column("task", no_wrap=True, max_width=name, overflow="ellipsis")
    table.add_column("phase", no_wrap=True, max_width=12, overflow="ellipsis")
    table.add_column("samples", no_wrap=True, justify="right", min_width=7)
    table.add_column("endpoint", no_wrap=True, max_width=endpoint, overflow="ellipsis")
    table.add_column("time", no_wrap=True, justify="right", min_width=6)
    table.add_column("", no_wrap=True, ratio=1, overflow="ellipsis")
    return table


def _cells(board: Board, task: Task, now: float) -> list[Text]:
    phase, reason = board.shown(task)
    elapsed, left = board.elapsed(task, now), task.left(now)
    return [
        Text(line(task.name)),
        Text(phase, style=STYLES[group(task)]),
        Text(task.samples),
        Text(line(board.endpoint_of(task)), style="dim"),
        Text(duration(elapsed) if elapsed is not None else ""),
        Text(reason or ("" if left is None else f"about {duration(left)} left"), style="dim"),
    ]
