"""When the lines of a log were written, for `evalx logs --since`; without a word in the log itself, which is as its program wrote it.

Beside a log (`output.log`) stands `output.log.times`: lines of a time (seconds since the epoch) and a size in bytes, each saying that
whatever stands before that offset had been written by then. evalx looks at the logs of a run every two seconds while it drives it; an
executor that is told the times of lines by its backend notes these. So what was written since a moment begins at the largest offset noted
before it, or somewhat later: nothing is left out, and at most what came between two looks is too much.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from evalx.results.files import open_regular

EVERY = 2.0
"""Seconds between two looks."""

COARSE = 1.0
"""Seconds by which a file's own time may lag behind the clock; on Linux, some milliseconds."""

_BACK = 64 * 1024
"""Bytes in which the beginning of a line is looked for."""


def note(log: Path, times: Iterable[tuple[float, int]]) -> None:
    """Write down sizes that a log had at some times. What cannot be written is left out: it is of use only to readers of the log."""
    text = "".join(f"{moment!r} {size}\n" for moment, size in times)
    with suppress(OSError):
        descriptor = os.open(_beside(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(text.encode())


def forget(log: Path) -> None:
    """Remove the times of a log that is written anew."""
    with suppress(OSError):
        _beside(log).unlink()


def offset(log: Path, since: float) -> int | None:
    """Where what was written since then begins, at the beginning of a line; None if nothing is known of it. Raises OSError."""
    facts = log.stat()
    if facts.st_mtime < since - COARSE:
        return facts.st_size
    known = _known(log, facts.st_size)
    if not known:
        return None
    return _line_start(log, max((size for moment, size in known if moment < since), default=0))


def _known(log: Path, most: int) -> list[tuple[float, int]]:
    found = []
    with suppress(OSError), open_regular(_beside(log)) as file:
        for line in file:
            with suppress(ValueError):
                moment, size = line.split()
                if 0 <= int(size) <= most:
                    found.append((float(moment), int(size)))
    return found


def _line_start(log: Path, at: int) -> int:
    with open_regular(log) as file:
        first = max(0, at - _BACK)
        file.seek(first)
        newline = file.read(at - first).rfind(b"\n")
    return first + newline + 1 if newline >= 0 or first == 0 else at


def _beside(log: Path) -> Path:
    return log.with_name(f"{log.name}.times")


class LogWatch:
    """Notes, while the block lasts, when the logs in a run's directory grow. In a thread, since nothing that is noted may delay the run."""

    def __init__(self, directory: Path, every: float = EVERY) -> None:
        self._directory = directory
        self._every = every
        self._sizes: dict[Path, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="evalx-log-times", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=self._every)

    def _work(self) -> None:
        while not self._over.wait(self._every):
            self._look()
        self._look()

    def _look(self) -> None:
        for log in (*self._directory.glob("tasks/*/*.log"), *self._directory.glob("endpoints/*/*.log")):
            with suppress(OSError):
                facts = log.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_size != self._sizes.get(log, 0):
                    self._sizes[log] = facts.st_size
                    note(log, [(time.time(), facts.st_size)])  # after the look: what was seen was written by then
