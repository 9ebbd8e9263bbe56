"""A run in a thread of its own, which ends with the program at the latest.

Python ends its pools of threads before it calls what `atexit` knows, and without them nothing can be deleted. What the standard library's
own pools use (`threading._register_atexit`, since Python 3.9) comes in time.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

from evalx.control import Control
from evalx.display.choose import choose
from evalx.errors import ExitCode
from evalx.summaries import RunSummary

_LIVE: set[Work] = set()
"""Those whose runs are not over."""


class Work:
    """A run that a thread of this process drives. engine: `runs.start` or `runs.resume` with what they need. display: see `choose`."""

    def __init__(self, engine: Callable[..., RunSummary], observers: Sequence[object], display: str) -> None:
        self._engine, self._observers, self._display = engine, observers, display
        self._control = Control()
        self._summary: Future[RunSummary] = Future()

    @property
    def over(self) -> bool:
        return self._summary.done()

    @property
    def run_id(self) -> str | None:
        """None as long as the run is not stored, and if it never is."""
        begun = self._control.begun
        return begun.result()[0] if begun.done() and begun.exception() is None else None

    def begin(self) -> tuple[str, Path]:
        """Start the thread; the run's id and directory, once it is stored. Raises what keeps the run from beginning."""
        _watch_for_the_end()
        _LIVE.add(self)
        threading.Thread(target=self._drive, name="evalx-run", daemon=True).start()
        try:
            return self._control.begun.result()
        except (KeyboardInterrupt, SystemExit):
            self._control.stop("interrupted", ExitCode.SIGINT)
            raise

    def wait(self, timeout: float | None) -> RunSummary:
        """The run's end: see `Run.wait`."""
        with _deadly_signals(_leave):
            try:
                return self._summary.result(timeout)
            except KeyboardInterrupt:
                self._control.stop("interrupted by SIGINT", ExitCode.SIGINT)
                self.rest()
                raise
            except SystemExit:
                self._control.stop("interrupted by SIGTERM or SIGHUP", ExitCode.SIGTERM)
                self.rest()
                raise

    def cancel(self, *, now: bool) -> RunSummary:
        """End the run: see `Run.cancel`."""
        self._control.stop("cancelled", now=now)
        return self.wait(None)

    def end(self) -> None:
        """Ask the run to end with the program, which may have little time left; returns at once."""
        self._control.stop("the program ended", now=True)

    def rest(self) -> None:
        """Until everything is deleted, whatever came of it."""
        self._summary.exception()

    def _drive(self) -> None:
        try:
            with choose(self._display, notice="") as shown:
                summary = self._engine(observers=[shown, *self._observers], control=self._control)
        except BaseException as error:  # noqa: BLE001 -- it is raised where somebody waits for the run
            if not self._control.begun.done():
                self._control.begun.set_exception(error)
            self._summary.set_exception(error)
        else:
            self._summary.set_result(summary)
        finally:
            _LIVE.discard(self)


def work_on(run_id: str) -> Work | None:
    """The thread of this process that drives a run, if there is one."""
    return next((work for work in tuple(_LIVE) if work.run_id == run_id), None)


@cache
def _watch_for_the_end() -> None:
    importlib.import_module("concurrent.futures.thread")  # registers its own end: what was registered last is called first
    threading._register_atexit(_end_all)  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=_LIVE.clear)  # the runs are the parent's


def _end_all() -> None:
    """At the end of the program: end the runs that are still going on, all at once, and wait until everything is deleted."""
    live = tuple(_LIVE)
    if not live:
        return
    names = sorted(work.run_id for work in live if work.run_id)
    print(f"evalx: the program ends, and run {' '.join(names)} with it; deleting what it has created", file=sys.stderr)
    try:
        with _deadly_signals(_Impatience(names).on_signal):
            for work in live:
                work.end()
            for work in live:
                work.rest()
    except KeyboardInterrupt:
        print(f"evalx: something of run {' '.join(names)} may be alive: evalx cleanup {names[0]}", file=sys.stderr)


class _Impatience:
    """SIGTERM at the end of the program: whoever ends it will soon kill it, as notebook servers do after seconds. So another process is
    started, which ends the runs in its place if it comes to that."""

    def __init__(self, runs: Sequence[str]) -> None:
        self._runs = list(runs)

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        nowhere = subprocess.DEVNULL
        while self._runs:
            argv = [sys.executable, "-m", "evalx.cli", "cancel", self._runs.pop()]
            subprocess.Popen(argv, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


@contextmanager
def _deadly_signals(handling: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGTERM and SIGHUP kill a program that has no handler for them, and leave its runs behind; in the block they are handled so."""
    main = threading.current_thread() is threading.main_thread()
    deadly = [number for number in (signal.SIGTERM, signal.SIGHUP) if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in deadly:
        signal.signal(number, handling)
    try:
        yield
    finally:
        for number in deadly:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
