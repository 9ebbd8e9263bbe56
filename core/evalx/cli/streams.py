"""The standard streams of the process: none may be missing, and each fails in one way only.

What cannot be written to stdout was asked for and is missing: that is an error with a sentence. What cannot be written to stderr is told to
nobody, and what the command does goes on, with the exit code that it deserves.
"""

from __future__ import annotations

import io
import os
import select
import sys
from pathlib import Path
from typing import Any

from evalx.errors import OutputLost


class _Patient(io.FileIO):
    """Waits for a slow reader, also where whoever made the stream has it refuse at once (O_NONBLOCK)."""

    def write(self, data: Any, /) -> int:
        while (written := super().write(data)) is None:
            select.select([], [self], [])
        return written


class _Results(_Patient):
    """Stdout. That a reader has left is no error: the command line ends quietly then."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputLost(f"cannot write to stdout: {error.strerror}") from error


class _Messages(_Patient):
    """Stderr."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """For a process that is the command line: standard streams that behave as told above."""
    open_missing()
    for name, raw in (("stdout", _Results(1, "w", closefd=False)), ("stderr", _Messages(2, "w", closefd=False))):
        before = getattr(sys, name)
        before.flush()
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), before.encoding, before.errors, line_buffering=before.line_buffering))


def open_missing() -> None:
    """A process started without standard streams gets empty ones: else the database would be opened as file 1 and be written to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 -- for as long as the process lives


def drop_stdout() -> None:
    """What is still to be written there goes nowhere, also when the interpreter flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
