"""A line on stderr whenever something changes, and one each minute when nothing does, so that a CI log moves."""

from __future__ import annotations

import threading
import time

import click

from evalx.display.base import Display, RunFacts
from evalx.display.model import ENDPOINT_PHASES, TASK_PHASES, Board, Status, Task
from evalx.display.text import clean, duration, line, plural
from evalx.model import Event, RunPlan

HEARTBEAT = 60.0

NAME_WIDTH = 24


class PlainDisplay(Display):
    """heartbeat: seconds of silence after which a summary line is written."""

    def __init__(self, *, notice: str | None = None, heartbeat: float = HEARTBEAT) -> None:
        super().__init__(notice=notice)
        self._heartbeat = heartbeat
        self._said: dict[int, str] = {}
        self._width = 0
        self._began = time.time()
        self._spoke = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="evalx-heartbeat", daemon=True)

    def opened(self, run: RunFacts, board: Board) -> None:
        plan = run.plan
        self._width = name_width(plan)
        self._began = board.run.began or self._began
        self._print(
            f"run {run.run_id}: {plural(len(plan.tasks), 'task')}, {plural(len(plan.endpoints), 'endpoint')}, executor {plan.executor}"
        )
        self._print(f"directory {clean(run.directory)}")
        if notice := self.notice(board):
            self._print(notice)
        if any(task.began is not None for task in board.tasks.values()):
            self._say(board.summary(), time.time())
        self._thread.start()

    def changed(self, board: Board, status: Status, event: Event) -> None:
        text = sentence(board, status, event, self._width)
        if text and self._said.get(id(status)) != text:
            self._said[id(status)] = text
            self._say(text, event.time)

    def warned(self, event: Event) -> None:
        self._say(warning(event), event.time)

    def closed(self) -> None:
        self._over.set()
        self._spoke.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _beat(self) -> None:
        while not self._over.is_set():
            self._spoke.clear()
            if not self._spoke.wait(self._heartbeat) and self.board is not None:
                with self.lock:
                    text = self._status(self.board)
                self._say(text, time.time())

    def _status(self, board: Board) -> str:
        """What a heartbeat says: the counts, then how far each running task is, as far as one line holds."""
        going = [f"{task.name} {task.samples}" for task in board.tasks.values() if not task.over and task.samples]
        return line("; ".join((board.summary(), *going)), 100)

    def _say(self, text: str, moment: float) -> None:
        self._spoke.set()
        self._print(f"{duration(moment - self._began):>7}  {text}")

    def _print(self, text: str) -> None:
        click.echo(text, err=True)


def name_width(plan: RunPlan) -> int:
    """How wide the column of names is."""
    names = [task.name for task in plan.tasks] + [endpoint.name for endpoint in plan.endpoints]
    return min(max(map(len, names), default=0), NAME_WIDTH)


def sentence(board: Board, status: Status, event: Event, width: int) -> str:
    """How what the event speaks of is doing now, in a line. width: of the column of names."""
    why = f": {status.reason}" if status.reason else ""
    if status is board.run:
        outcome = f", {board.outcome.replace('_', ' ')}" if board.outcome and status.state == "closed" else ""
        return f"{'run':<{width}}  {status.state}{outcome}{why}"
    if isinstance(status, Task):
        phase = board.shown(status)[0] if event.kind == "progress" else TASK_PHASES.get(status.state, status.state)
        detail = f": {status.scores}" if status.scores else why
        return f"{line(status.name, width):<{width}}  {phase}{detail}"
    phase = ENDPOINT_PHASES.get(status.state, status.state) if event.kind != "progress" else status.phase or status.state
    return f"{line(status.name, width):<{width}}  endpoint {phase}{why}"


def warning(event: Event) -> str:
    """What a warning says, in a line."""
    about = f"{line(event.name)}: " if event.name else ""
    return f"warning: {about}{line(event.reason or '')}"
