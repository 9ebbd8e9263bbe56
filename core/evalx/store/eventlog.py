"""`events.jsonl` in a run's directory: the run's events, one JSON object a line, for tail and grep.

It is derived from the database and never the only copy, so a failure to write it stops nothing: what is missing is added with the
next event that can be written, or when the run is opened again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from evalx.model import Event
from evalx.store.records import dumps

Source = Callable[[int], Iterable[Event]]
"""The database's events after a seq."""


class EventLog:
    """The event file of one run, open for appending. Always a prefix of what the database holds, except for a torn last line."""

    def __init__(self, path: Path, source: Source) -> None:
        """Brings the file up to date. source: where events that it lacks are found."""
        self._path = path
        self._source = source
        self._file: int | None = None
        self._warned = False
        self._catch_up()

    def append(self, event: Event) -> None:
        """Add an event that was just committed."""
        if self._file is None:
            self._catch_up()
            return
        try:
            _write(self._file, [event])
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _catch_up(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            size, seq = _intact(self._path.read_bytes())
            if seq and not any(self._source(seq - 1)):
                size, seq = self._keep_what_is_ahead(), 0
            os.ftruncate(self._file, size)
            _write(self._file, self._source(seq))
        except OSError as error:
            self._give_up(error)

    def _keep_what_is_ahead(self) -> int:
        """The file knows more than the database, which an older copy or a lost end of it must have replaced: nothing of it is thrown away.

        Returns the size of the new file.
        """
        import structlog

        assert self._file is not None
        aside = self._path.with_name(f"{self._path.name}.ahead-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
        self._path.rename(aside)
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        structlog.get_logger("evalx").warning(
            "the database has forgotten events of this run; what they tell of may be alive: evalx cleanup --all-runs", kept=str(aside)
        )
        return 0

    def _give_up(self, error: OSError) -> None:
        self.close()
        if not self._warned:
            import structlog

            self._warned = True
            structlog.get_logger("evalx").warning("the event file lags behind", path=str(self._path), error=error.strerror or str(error))


def _intact(content: bytes) -> tuple[int, int]:
    """How many bytes to keep, and the seq of the last event in them: whole lines only, and none if they are not events 1, 2, 3, ..."""
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    try:
        numbers = [json.loads(line)["seq"] for line in lines]
    except (ValueError, TypeError, KeyError):
        return 0, 0
    if numbers != list(range(1, len(lines) + 1)):
        return 0, 0
    return sum(map(len, lines)), len(lines)


def _write(file: int, events: Iterable[Event]) -> None:
    content = "".join(dumps(event) + "\n" for event in events).encode()
    while content:
        content = content[os.write(file, content) :]
