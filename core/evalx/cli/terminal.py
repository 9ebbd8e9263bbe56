"""The terminal that a run was started on: asking what Ctrl-C shall do, and going on when the terminal is gone."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from evalx.cli.supervisor import log_of, write_to
from evalx.display.base import Display
from evalx.display.plain import PlainDisplay
from evalx.hookspecs import hookimpl
from evalx.interrupts import Answer
from evalx.model import Event

PATIENCE = 10.0
"""Seconds without an answer after which the run is stopped: who pressed Ctrl-C and went away wants nothing to go on and cost."""

KEYS = {"s": Answer.STOP, "\r": Answer.STOP, "\n": Answer.STOP, "d": Answer.DETACH, "c": Answer.GO_ON}


class RunTerminal:
    """evalx.interrupts.Terminal for the terminal of this process, if it has one. A context manager.

    display: what shows the run there. It is an observer as well, to learn what run it is.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._run: Any = None
        self._saved: list[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._tty = -1
        display.asks = self.can_ask()

    def __enter__(self) -> RunTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.withdraw()
        if self.exists():
            os.close(self._tty)
            self._tty = -1

    @hookimpl
    def on_event(self, run: Any, event: Event) -> None:  # noqa: ARG002 -- the hook's signature
        """Learn what run this is."""
        self._run = run

    def exists(self) -> bool:
        return self._tty >= 0

    def can_ask(self) -> bool:
        """Somebody can see the question and answer it: stdin and stderr are the terminal, and this process is in its foreground."""
        if not self.exists() or os.environ.get("CI") or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        with suppress(OSError):
            return os.tcgetpgrp(self._tty) == os.getpgrp()
        return False

    def ask(self, answer: Callable[[Answer], None]) -> None:
        loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
        self._saved = termios.tcgetattr(self._tty)
        tty.setcbreak(self._tty, termios.TCSAFLUSH)  # what was typed before is no answer
        self._timer = loop.call_later(PATIENCE, answer, Answer.STOP)
        loop.add_reader(stdin, self._read, stdin, answer)
        self._display.ask(f"(stops in {PATIENCE:g} s)")

    def _read(self, stdin: int, answer: Callable[[Answer], None]) -> None:
        try:
            typed = os.read(stdin, 64).decode(errors="replace").lower()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            typed = ""
        if not typed:  # the terminal is being closed: SIGHUP says so in a moment
            asyncio.get_running_loop().remove_reader(stdin)
        for key in typed:
            if key in KEYS:
                answer(KEYS[key])
                return

    def withdraw(self) -> None:
        if self._saved is None:
            return
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        if self._timer is not None:
            self._timer.cancel()
        with suppress(termios.error):
            termios.tcsetattr(self._tty, termios.TCSANOW, self._saved)
        self._saved = None
        self._display.ask(None)

    def tell(self, text: str) -> None:
        self._display.tell(text)

    def is_lost(self) -> bool:
        try:
            termios.tcgetattr(self._tty)
        except termios.error:
            return True
        return False

    def leave(self) -> str:
        log = log_of(self._run.directory)
        write_to(log)
        self._display.close()
        plain = PlainDisplay(notice="")
        plain.take_over(self._run, self._display)
        self._run.plugins.register(plain, "display-without-terminal")
        return str(log)
