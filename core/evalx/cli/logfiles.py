"""Logs in a run directory: where they are, their last lines, and what is added to them."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from evalx.display.text import clean
from evalx.model import EndpointSpec, Spec


def log_of(directory: Path, spec: Spec) -> Path | None:
    """The log of a task or endpoint in the run directory, of its newest attempt; None if there is none."""
    kind = "endpoints" if isinstance(spec, EndpointSpec) else "tasks"
    folders = [folder for folder in (directory / kind).glob(f"{spec.index:03d}-*") if folder.is_dir() and not folder.is_symlink()]
    logs = [log for folder in folders for log in folder.glob("*.log") if log.is_file() and not log.is_symlink()]
    return max(logs, key=lambda log: (log.stat().st_mtime, log.name), default=None)


def tail(path: Path, count: int | None) -> list[str]:
    """The last lines (None: all), fit for a terminal."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return [clean(text.rstrip("\r\n")) for text in deque(lines, maxlen=count)]


class Appended:
    """A log that is being written: each `lines()` gives the complete lines that came since the last. count: how many of the lines that
    are already there are wanted, None for all."""

    def __init__(self, directory: Path, spec: Spec, count: int | None) -> None:
        self._directory, self._spec, self._count = directory, spec, count
        self._path: Path | None = None
        self._at = 0
        self._first = True

    def lines(self) -> list[str]:
        """What is new. A log that appears later, or that a new attempt begins, is read from its start."""
        path = log_of(self._directory, self._spec)
        if path != self._path:
            self._path, self._at = path, 0
        if path is None:
            self._first = False
            return []
        with path.open("rb") as log:
            log.seek(self._at)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        found = [clean(text) for text in whole.decode("utf-8", "replace").splitlines()]
        wanted = found[len(found) - self._count :] if self._first and self._count is not None and self._count < len(found) else found
        self._first = False
        return wanted
