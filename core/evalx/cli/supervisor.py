"""Runs that go on without a terminal: a supervisor is the same command in a session of its own, whose streams go to a file.

Until the run is registered, the supervisor writes where its starter does, so whatever goes wrong before is seen and has its exit code.
From then on it writes to `evalx.log` in the run directory, and has told its starter, through a pipe, which run it is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from evalx.cli.output import emit, tell
from evalx.display.base import RunFacts
from evalx.display.plain import PlainDisplay
from evalx.hookspecs import hookimpl
from evalx.model import Event

PIPE = "EVALX_SUPERVISOR_PIPE"
"""The variable that makes a command a supervisor: the descriptor of the pipe to its starter."""


def log_of(directory: Path) -> Path:
    """What evalx itself says of a run that has no terminal."""
    return directory / "evalx.log"


def write_to(log: Path) -> None:
    """Let the standard streams of this process be that file from now on; nothing at all if it cannot be written."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        out = os.dup(nothing)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(nothing)
    os.close(out)


# ---------------------------------------------------------------------- the starter's side


@frozen
class Supervised:
    """A run that a supervisor has registered, or what its process has ended with before it could."""

    run_id: str = ""
    directory: str = ""
    pid: int = 0
    exit_code: int = 0


def supervise(arguments: Sequence[str]) -> Supervised:
    """Start the command line with these arguments as a supervisor, and wait until its run is registered or it has ended.

    An interrupt meanwhile is passed on: the supervisor ends in order.
    """
    reading, writing = os.pipe()
    argv = [sys.executable, "-P", "-m", "evalx.cli", *arguments]
    with os.fdopen(reading) as pipe:
        environment = {**os.environ, PIPE: str(writing)}
        child = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, pass_fds=(writing,), start_new_session=True)
        os.close(writing)
        told, code = "", None
        while not told and code is None:
            try:
                told = pipe.readline()
                code = None if told else child.wait()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)
    if code is not None:
        return Supervised(exit_code=code if code >= 0 else 128 - code)
    child.returncode = 0  # it is meant to outlive this object, of which subprocess would otherwise complain
    return Supervised(**json.loads(told), pid=child.pid)


def report(run: Supervised, as_json: bool) -> None:
    """Say which run goes on, and how to come back to it."""
    log = log_of(Path(run.directory))
    if as_json:
        emit({"run_id": run.run_id, "directory": run.directory, "supervisor": run.pid, "log": str(log)})
        return
    tell(f"run {run.run_id} goes on in the background, process {run.pid}")
    tell(f"follow it:              evalx watch {run.run_id}")
    tell(f"end it:                 evalx cancel {run.run_id}")
    tell(f"what evalx says:        {log}")


# ---------------------------------------------------------------------- the supervisor's side


def pipe_to_starter() -> int | None:
    """The descriptor to tell the starter through, if this process is to be a supervisor; processes that it starts are not."""
    given = os.environ.pop(PIPE, None)
    if given is None:
        return None
    os.set_inheritable(int(given), False)
    return int(given)


class SupervisorDisplay(PlainDisplay):
    """Plain lines; when the run is registered it lets go of the starter's streams, and tells it so."""

    def __init__(self, pipe: int) -> None:
        super().__init__(notice="")
        self._pipe = pipe

        self._past: list[Event] = []

    def prime(self, run: RunFacts, events: Iterable[Event]) -> None:  # noqa: ARG002 -- it is told again with the first event
        """Keep what has happened before until this process has the run."""
        self._past = list(events)

    @hookimpl
    def on_event(self, run: Any, event: Event) -> None:
        if self.board is None:
            write_to(log_of(run.directory))
            with suppress(OSError), os.fdopen(self._pipe, "w") as pipe:
                json.dump({"run_id": run.run_id, "directory": str(run.directory)}, pipe)
            super().prime(run, self._past)
        super().on_event(run, event)
