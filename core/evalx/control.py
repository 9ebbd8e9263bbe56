"""A hand on a run that another thread drives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from evalx.errors import ExitCode

Stop = Callable[[str, ExitCode | None, bool], None]


class Control:
    """Tells when a run has begun, and ends it. Safe to use from any thread, also before the run has begun and after it is over.

    begun: the run's id and directory, once it is stored; whoever drives it sets the exception if it never is.
    """

    def __init__(self) -> None:
        self.begun: Future[tuple[str, Path]] = Future()
        self._lock = threading.Lock()
        self._asked: list[tuple[str, ExitCode | None, bool]] = []
        self._send: Callable[[str, ExitCode | None, bool], object] | None = None

    def stop(self, reason: str, code: ExitCode | None = None, *, now: bool = False) -> None:
        """End the run in order: no new work, results that are there are kept, everything is deleted. The first reason counts.

        now: tasks get no time to end by themselves; also after a first call without it.
        """
        with self._lock:
            self._asked.append((reason, code, now))
            if self._send is not None:
                self._send(reason, code, now)

    @contextmanager
    def over(self, loop: asyncio.AbstractEventLoop, stop: Stop) -> Iterator[None]:
        """For the engine, within the loop that drives the run: for the block, `stop` of the driver is called there when it is asked for."""
        with self._lock:
            self._send = lambda *asked: loop.call_soon_threadsafe(stop, *asked)
            for asked in self._asked:
                self._send(*asked)
        try:
            yield
        finally:
            with self._lock:
                self._send = None
