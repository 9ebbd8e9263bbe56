"""What all displays share: an observer that folds events into a board and shows what changed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import click

from evalx.display.model import Board, Status, interrupt_notice, interrupt_question, is_warning
from evalx.hookspecs import hookimpl
from evalx.model import Event, RunPlan, TaskResult


class RunFacts(Protocol):
    """What a display wants to know of a run; a `RunContext` and a stored `RunRecord` both have it."""

    @property
    def run_id(self) -> str: ...
    @property
    def directory(self) -> Path: ...
    @property
    def plan(self) -> RunPlan: ...


class Display:
    """A context manager and an observer. notice: what to say Ctrl-C will do; None: that it ends the run.

    Subclasses override `opened`, `changed`, `warned`, `closed`. The board is read and changed under `lock`, because a display may
    refresh itself from a thread of its own.
    """

    def __init__(self, *, notice: str | None = None) -> None:
        self._notice = notice
        self._deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        self._question: str | None = None
        self.asks = False
        """Whether Ctrl-C asks first."""
        self.board: Board | None = None
        self.lock = threading.RLock()
        self._ended = False

    def prime(self, run: RunFacts, events: Iterable[Event]) -> None:
        """Take in what happened before this display was there."""
        with self.lock:
            self.board = Board(run.plan)
            for event in events:
                self.board.apply(event)
        self.opened(run, self.board)

    @hookimpl
    def on_event(self, run: Any, event: Event) -> None:
        """Show that something happened. run: anything with the attributes of RunFacts."""
        if self.board is None:
            self.prime(run, ())
        board = self.board
        if board is None or self._ended:
            return
        self.happened(event)
        if is_warning(event):
            self.warned(event)
            return
        with self.lock:
            status = board.apply(event)
        if status is not None:
            self.changed(board, status, event)

    @hookimpl
    def finish(self, run: Any, results: Sequence[TaskResult]) -> None:  # noqa: ARG002 -- the hook's signature
        """The run is over."""
        self.close()

    def close(self) -> None:
        """Give the terminal back. May be called more than once."""
        if not self._ended:
            self._ended = True
            self.closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def notice(self, board: Board) -> str:
        """What Ctrl-C will do, or has asked; empty if that is not for this display to say."""
        if self._question is not None:
            return self._question
        if self._notice is not None:
            return self._notice
        if self._deaf:  # as whoever has started this process wanted: nohup, or a shell that runs it in the background
            return f"Ctrl-C is ignored here; evalx cancel {board.plan.run_id} ends the run"
        return interrupt_notice(board.plan, self.asks)

    def ask(self, otherwise: str | None) -> None:
        """Show the question of what Ctrl-C shall do. otherwise: what happens without an answer; None: it has been answered."""
        with self.lock:
            self._question = None if otherwise is None or self.board is None else f"{interrupt_question(self.board.plan)}  {otherwise}"
        self.asked(self._question)

    def asked(self, question: str | None) -> None:
        """There is a question, or none any more."""
        if question is not None:
            self.tell(question)

    def tell(self, text: str) -> None:
        """Say something that is not an event."""
        click.echo(text, err=True)

    def take_over(self, run: RunFacts, other: Display) -> None:
        """Go on in the place of another display, with what it knows."""
        self.board = other.board or Board(run.plan)
        self.opened(run, self.board)

    def happened(self, event: Event) -> None:
        """Any event, before it is folded in."""

    def opened(self, run: RunFacts, board: Board) -> None:
        """The run is known now."""

    def changed(self, board: Board, status: Status, event: Event) -> None:
        """A row changed."""

    def warned(self, event: Event) -> None:
        """Something that should not have happened did."""

    def closed(self) -> None:
        """Nothing more will come."""
