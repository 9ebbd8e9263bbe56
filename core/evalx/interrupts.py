"""Signals while a run is driven: what stops it, what asks first, and what it goes on after.

| | a terminal somebody sits at | anything else |
|---|---|---|
| first SIGINT | asks: stop, detach or go on | stops |
| SIGTERM | stops | stops |
| SIGHUP | stops; goes on if the terminal itself is gone | stops |
| the next signal, once it is being stopped | ends the waiting | ends the waiting |

A signal while the question stands is the answer "stop". One that comes at once after another is a part of it: `timeout` signals the process
and then its group, and systemd may send SIGHUP after SIGTERM.
"""

from __future__ import annotations

import asyncio
import math
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from enum import StrEnum
from typing import Any, Protocol

from evalx.control import Control
from evalx.driver import Driver
from evalx.errors import ExitCode

SIGNALS = {signal.SIGINT: ExitCode.SIGINT, signal.SIGTERM: ExitCode.SIGTERM, signal.SIGHUP: ExitCode.SIGHUP}

ECHO = 0.1
"""Seconds after a signal in which another one is taken for its echo. Nobody presses Ctrl-C twice so fast."""

REST = 10.0
"""Seconds that calls under way may take to return when the run is to be handed over."""

HANG_UP_LOOKS, HANG_UP_PAUSE = 5, 0.1
"""How often a terminal is looked at after SIGHUP, and how long between: some terminals send the signal before they are gone."""

LAST_TURNS = 50
"""Turns of the loop in which what the last calls have returned is written down. What is not, the next process finds out."""


class Answer(StrEnum):
    """What a user wants to happen to the run."""

    STOP = "stop"
    DETACH = "detach"
    GO_ON = "go on"


class Ending(StrEnum):
    """How driving ended. ABANDONED: the user has stopped waiting for the cleanup. DETACHED: nothing was ended or deleted."""

    OVER = "over"
    ABANDONED = "abandoned"
    DETACHED = "detached"


class Terminal(Protocol):
    """The terminal that a run was started on. Called in the event loop's thread only."""

    def can_ask(self) -> bool:
        """Whether somebody sits there who would see a question and could answer it."""

    def ask(self, answer: Callable[[Answer], None]) -> None:
        """Ask what shall be done, without waiting; `answer` is to be called once, or `withdraw` comes before."""

    def withdraw(self) -> None:
        """The question has an answer, or needs none any more. Repeatable."""

    def tell(self, text: str) -> None:
        """Say something."""

    def is_lost(self) -> bool:
        """Whether there was a terminal, and there is none any more."""

    def exists(self) -> bool:
        """Whether there was a terminal when the run began."""

    def leave(self) -> str:
        """Go on without it; returns where messages go from now on."""


class Interrupts:
    """Executes a driver under signal handlers. Use: `ending = await Interrupts(driver, terminal).execute()`.

    control: a hand of another thread on the run.
    """

    def __init__(self, driver: Driver, terminal: Terminal | None = None, control: Control | None = None) -> None:
        self._control = control
        self._driver = driver
        self._terminal = terminal
        self._asking = False
        self._signalled = -math.inf
        self._leaving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._detached = False
        self._work: asyncio.Future[None]

    async def execute(self) -> Ending:
        """The driver's work, to its end or until the user wants no more of it."""
        loop = asyncio.get_running_loop()
        self._work = asyncio.ensure_future(self._driver.execute())
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    loop.add_signal_handler(number, self._on_signal, number)
        try:
            with self._control.over(loop, self._driver.stop) if self._control is not None else nullcontext():
                await self._work
        except asyncio.CancelledError:
            return Ending.DETACHED if self._detached else Ending.ABANDONED
        finally:
            self._withdraw()
            self._deaf()
        return Ending.OVER

    # ------------------------------------------------------------------ signals

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and self._terminal is not None and self._terminal.exists():
            self._looking = self._looking or asyncio.create_task(self._hung_up(self._terminal))
        elif self._echoes():
            return
        elif self._driver.run.stopping.is_set():
            self._abandon()
        elif number is signal.SIGINT and self._may_ask():
            self._ask()
        else:
            self._stop(number)

    def _echoes(self) -> bool:
        """Whether it comes too soon after the last that counted to be one of its own."""
        now = asyncio.get_running_loop().time()
        if now - self._signalled < ECHO:
            return True
        self._signalled = now
        return False

    def _stop(self, number: signal.Signals) -> None:
        self._withdraw()
        if self._leaving is not None:
            self._leaving.cancel()
            self._driver.calls.release()
        self._driver.stop(f"interrupted by {number.name}", SIGNALS[number])

    def _abandon(self) -> None:
        asyncio.get_running_loop().set_exception_handler(_all_but_cancelled)
        self._deaf()  # what is left is told in a moment: a third must not come between
        self._work.cancel()

    def _deaf(self) -> None:
        """From here on signals change nothing any more: what has happened is written down."""
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for each in SIGNALS:
                if loop.remove_signal_handler(each):
                    signal.signal(each, signal.SIG_IGN)

    # ------------------------------------------------------------------ the question

    def _may_ask(self) -> bool:
        return self._terminal is not None and not self._asking and self._leaving is None and self._terminal.can_ask()

    def _ask(self) -> None:
        assert self._terminal is not None
        self._asking = True
        self._terminal.ask(self._answered)

    def _withdraw(self) -> None:
        if self._asking and self._terminal is not None:
            self._asking = False
            self._terminal.withdraw()

    def _answered(self, answer: Answer) -> None:
        self._withdraw()
        if self._driver.run.stopping.is_set():
            return
        if answer is Answer.STOP:
            self._stop(signal.SIGINT)
        elif answer is Answer.DETACH and self._terminal is not None:
            self._terminal.tell("detaching: calls that are under way return first")
            self._leaving = asyncio.create_task(self._leave())

    # ------------------------------------------------------------------ going on elsewhere

    async def _leave(self) -> None:
        """Bring the run to rest, so that another process can take it over as it is."""
        if await self._driver.calls.hold(REST):
            for _ in range(LAST_TURNS):
                await asyncio.sleep(0)
            if not self._work.done() and not self._driver.run.stopping.is_set():
                self._detached = True
                self._abandon()
                return
        self._leaving = None
        self._driver.calls.release()
        if self._driver.run.stopping.is_set():
            return
        if self._terminal is not None:
            self._terminal.tell(f"not detached: a call has not returned for {REST:g} s; the run goes on here")

    async def _hung_up(self, terminal: Terminal) -> None:
        """SIGHUP to a run that has a terminal: if that is gone, the run goes on by itself; else it was meant as a signal."""
        for _ in range(HANG_UP_LOOKS):
            if terminal.is_lost():
                self._withdraw()
                asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                self._driver.ledger.warn(f"the terminal is gone; the run goes on, and writes to {terminal.leave()}")
                return
            await asyncio.sleep(HANG_UP_PAUSE)
        self._looking = None
        if self._driver.run.stopping.is_set():
            self._abandon()
        else:
            self._stop(signal.SIGHUP)


def _all_but_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the user has stopped waiting for is broken off on purpose: asyncio need not report it."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)
