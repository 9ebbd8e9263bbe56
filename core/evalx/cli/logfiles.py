"""Logs in a run directory: where they are, their lines, and what is added to them."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from evalx.model import EndpointSpec, Spec
from evalx.results import clean

USUAL = "output.log"


def log_of(directory: Path, spec: Spec) -> Path | None:
    """The log of a task or endpoint in the run directory, of its newest attempt; None if there is none. Links are not followed."""
    kind = "endpoints" if isinstance(spec, EndpointSpec) else "tasks"
    folders = [folder for folder in (directory / kind).glob(f"{spec.index:03d}-*") if folder.is_dir() and not folder.is_symlink()]
    logs = [log for folder in folders if (log := _log_in(folder)) is not None]
    return max(logs, key=lambda log: log.stat().st_mtime, default=None)


def _log_in(folder: Path) -> Path | None:
    logs = sorted(log for log in folder.glob("*.log") if log.is_file() and not log.is_symlink())
    return next((log for log in logs if log.name == USUAL), logs[0] if logs else None)


def lines_of(path: Path, count: int | None) -> list[str]:
    """The last lines (None: all), fit for a terminal."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        return [clean(text) for text in deque(lines, maxlen=count)]


class Appended:
    """A log that is being written: each `lines()` gives the complete lines that came since the last call.

    count: how many of the lines that are there at the first call are wanted, None for all.
    """

    def __init__(self, directory: Path, spec: Spec, count: int | None) -> None:
        self._directory, self._spec, self._count = directory, spec, count
        self._path: Path | None = None
        self._at = 0

    def lines(self) -> list[str]:
        """What is new. A log that appears later, or that a new attempt begins, is read from its start."""
        path, count, self._count = log_of(self._directory, self._spec), self._count, None
        if path != self._path:
            self._path, self._at = path, 0
        found = [] if path is None else self._new(path)
        return found if count is None else found[max(0, len(found) - count) :]

    def _new(self, path: Path) -> list[str]:
        with path.open("rb") as log:
            log.seek(self._at)
            new = log.read()
        end = new.rfind(b"\n") + 1
        self._at += end
        return [clean(text) for text in new[:end].decode("utf-8", "replace").split("\n")[:-1]]
