"""Logs of a run: in its directory, where they are, their lines, and what is added to them; else as its executor reads them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from evalx.errors import ConfigError
from evalx.logtimes import offset
from evalx.model import EndpointSpec, Spec
from evalx.redaction import redact
from evalx.results import clean
from evalx.store import RunRecord, Store

USUAL = "output.log"

WINDOW = 8 * 2**20
"""Bytes of a log's end that are read first for its last lines; twice as many if they are not all there, and so on."""

SHOWN = 64 * 2**10
"""Characters that are shown of a line that is longer than the window, as of a log without any line ends."""


def log_of(directory: Path, spec: Spec) -> Path | None:
    """The log of a task or endpoint in the run directory, of its newest attempt; None if there is none. Links are not followed."""
    kind = "endpoints" if isinstance(spec, EndpointSpec) else "tasks"
    folders = [folder for folder in (directory / kind).glob(f"{spec.index:03d}-*") if folder.is_dir() and not folder.is_symlink()]
    logs = [log for folder in folders if (log := _log_in(folder)) is not None]
    return max(logs, key=lambda log: log.stat().st_mtime, default=None)


def _log_in(folder: Path) -> Path | None:
    logs = sorted(log for log in folder.glob("*.log") if log.is_file() and not log.is_symlink())
    return next((log for log in logs if log.name == USUAL), logs[0] if logs else None)


def lines_of(path: Path, count: int | None, begin: int = 0) -> list[str]:
    """The last lines (None: all) from a byte on, fit for a terminal. Of a last line longer than 8 MiB, its last 64 KiB are shown."""
    if count is None:
        with path.open("rb") as lines:
            lines.seek(begin)
            return _harmless(line.decode("utf-8", "replace") for line in lines)
    found, cut = _last_lines(path, count, begin)
    shown = _harmless(line.decode("utf-8", "replace") for line in found)
    # What is cut is cut when secrets are out, and far from where reading began, which may have been in the middle of one.
    return [line[-SHOWN:] for line in shown] if cut else shown


def _last_lines(path: Path, count: int, begin: int) -> tuple[list[bytes], bool]:
    """The last lines, read from the end; and whether it is a single one, of which the beginning was not reached."""
    window = WINDOW
    with path.open("rb") as log:
        end = log.seek(0, os.SEEK_END)
        while True:
            start = max(begin, end - window)
            log.seek(start)
            lines = log.read(end - start).removesuffix(b"\n").split(b"\n") if end > start else []
            if start == begin or len(lines) > count:
                return lines[max(0, len(lines) - count) :], False
            if len(lines) == 1:
                return lines, True
            window *= 2


def begin_of(path: Path, spec: Spec, since: float | None) -> int:
    """The byte from which a log is to be shown. Raises ConfigError if nothing is known of when its lines were written."""
    found = 0 if since is None else offset(path, since)
    if found is None:
        hint = "without --since the whole log is shown, with --tail N its end"
        raise ConfigError(f"it is not known when the lines in the log of {spec.name} were written", hint)
    return found


def _harmless(lines: Iterable[str]) -> list[str]:
    """Without what acts on a terminal, and then, since it may have been hidden by that, without secrets."""
    found = [clean(text) for text in lines]
    return redact("\n".join(found)).split("\n") if found else []


class Appended:
    """A log that is being written: each `lines()` gives the complete lines that came since the last call.

    count: how many of the lines that are there at the first call are wanted, None for all. since: only what was written from then on.
    """

    def __init__(self, directory: Path, spec: Spec, count: int | None, since: float | None = None) -> None:
        self._directory, self._spec, self._count, self._since = directory, spec, count, since
        self._path: Path | None = None
        self._at = 0

    def lines(self) -> list[str]:
        """What is new. A log that appears later, or that a new attempt begins, is read from its start."""
        path, count, self._count = log_of(self._directory, self._spec), self._count, None
        if path != self._path:
            self._path, self._at = path, 0 if path is None else begin_of(path, self._spec, self._since)
            self._since = None
        found = [] if path is None else self._new(path)
        return found if count is None else found[max(0, len(found) - count) :]

    def _new(self, path: Path) -> list[str]:
        with path.open("rb") as log:
            log.seek(self._at)
            new = log.read()
        end = new.rfind(b"\n") + 1
        self._at += end
        return _harmless(new[:end].decode("utf-8", "replace").split("\n")[:-1])


def wanted(record: RunRecord, name: str | None, endpoint: bool) -> list[Spec]:
    """Whose logs are asked for: of a task or endpoint by name, or of all; endpoint: of the task's endpoint. Raises ConfigError."""
    plan = record.plan
    if name is None:
        return list(plan.endpoints) if endpoint else list(plan.tasks)
    for spec in plan.tasks:
        if spec.name == name:
            return [plan.endpoint(spec.endpoint)] if endpoint else [spec]
    found = [spec for spec in plan.endpoints if spec.name == name]
    if not found:
        raise ConfigError(f"run {record.run_id} has no task '{name}'", f"tasks: {', '.join(spec.name for spec in plan.tasks)}")
    return list(found)


def past_lines(store: Store, record: RunRecord, spec: Spec, count: int | None, since: float | None = None) -> list[str]:
    """The last lines there are (None: all), fit for a terminal: of the file in the run directory, else what the executor can still read.

    since: only what was written from then on. Raises ConfigError or PluginError if nothing is known of that.
    """
    path = log_of(record.directory, spec)
    if path is not None:
        return lines_of(path, count, begin_of(path, spec, since))
    return _harmless(deque(from_executor(store, record, spec, follow=False, since=since), maxlen=count))


def from_executor(store: Store, record: RunRecord, spec: Spec, follow: bool, since: float | None = None) -> Iterator[str]:
    """The log as the run's executor reads it at its backend; nothing if it cannot, or if the resource was never created."""
    from evalx.runs import context_of

    found = [r for r in store.resources(record.run_id) if r.spec.name == spec.name and type(r.spec) is type(spec) and r.handle is not None]
    if not found:
        return iter(())
    handle = max(found, key=lambda resource: resource.attempt).handle
    assert handle is not None
    run = context_of(record.plan, record.directory)
    hooks = run.plugins.hooks(run)
    hooks.setup()
    return hooks.read_logs(handle, follow, since) or iter(())
