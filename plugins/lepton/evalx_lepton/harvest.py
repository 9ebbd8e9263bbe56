"""Getting a job's results out of its log: the history that the platform keeps, or what a replica still shows.

The history lags behind, comes in pages by time, and may have been switched off; the live log ends with the pod. So both are asked, until
the frames are complete or the time is up. The log itself is kept as `output.log`, without the frames.
"""

from __future__ import annotations

import codecs
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from evalx.errors import EvalxError
from evalx.logtimes import forget, note
from evalx_lepton.frames import FrameReader
from evalx_lepton.problems import NotFound
from evalx_lepton.sdk import Workspace
from evalx_lepton.views import Job

LIMIT, MAX_LIMIT = 5_000, 10_000
"""Lines of a page; more only where a single moment fills a page."""

OVERLAP = 30 * 10**9
"""Nanoseconds before the newest line that are read again, for lines that came late."""

TIMES = 10**7
"""Nanoseconds of which only the last time is noted."""

MAX_LOG = 64 * 2**20
"""Bytes of a log that are kept."""

LIVE_IDLE, LIVE_EVERY = 3.0, 10.0
"""Seconds of silence after which a live log counts as over, and between two looks at it."""

BEFORE, AFTER = 600, 60
"""Seconds that clocks may differ by: the history is asked from so long before the job's creation, until so long from now."""


class LogFile:
    """A log being written down, up to a size; safe to keep for long, as the file is not held open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self._rest = MAX_LOG
        path.write_bytes(b"")
        forget(path)

    def add(self, lines: list[tuple[int, str]]) -> None:
        """Lines with their times (ns since the epoch, 0 where that is not known), which are noted beside the log."""
        times: dict[int, tuple[float, int]] = {}
        with self.path.open("ab") as file:
            for moment, text in lines:
                data = f"{text}\n".encode("utf-8", "replace")[: self._rest]
                file.write(data)
                self._rest -= len(data)
                if moment:
                    times[moment // TIMES] = (moment / 10**9, MAX_LOG - self._rest)
        self.lines += len(lines)
        note(self.path, times.values())

    def begins_as(self, other: LogFile) -> bool:
        """Whether it begins with all of the other, whose times are then its own."""
        with self.path.open("rb") as mine:
            beginning = other.path.read_bytes()
            return mine.read(len(beginning)) == beginning


class Harvest:
    """The reading of one job that is over. One thread at a time."""

    def __init__(self, workspace: Workspace, job: Job, key: str, folder: Path) -> None:
        """key: of the task's frames. folder: where the log is kept."""
        self._workspace = workspace
        self._job = job
        self._folder = folder
        self.frames = FrameReader(key)
        self.since = time.monotonic()
        self._history = LogFile(folder / "output.log")
        self._newest = 0
        self._live_at = float("-inf")

    def look(self) -> bool:
        """Read what there is; whether the results are complete. Raises TransientError, AuthError."""
        self._read_history()
        if not self.frames.complete and time.monotonic() - self._live_at > LIVE_EVERY:
            self._read_live()
            self._live_at = time.monotonic()
        return self.frames.complete

    def _read_history(self) -> None:
        created = self._job.created or self._workspace.now() - 7 * 24 * 3600
        start = max(self._newest - OVERLAP, int((created - BEFORE) * 10**9))
        known = self._newest
        for lines in pages(self._workspace, "job", self._job.id, start):
            # Fed to the frames even if it was read before; into the log only what is newer.
            self._history.add([(moment, text) for moment, text in self._without_frames(lines) if moment > known])
            self._newest = max(self._newest, lines[-1][0])

    def _without_frames(self, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """The lines that are no frames, nor the empty one before the first of them, which ends whatever the task printed last."""
        empty: tuple[int, str] | None = None
        for line in lines:
            if self.frames.feed(line[1]):
                empty = None
                continue
            if empty is not None:
                yield empty
            empty = line if line[1] == "" else None
            if empty is None:
                yield line
        if empty is not None:
            yield empty

    def _read_live(self) -> None:
        """Read the newest replica's log, if there is still one."""
        live = LogFile(self._folder / "output.live")
        try:
            replicas = self._workspace.replicas("job", self._job.id)
            lines = live_lines(self._workspace, "job", self._job.id, replicas[-1]) if replicas else ()
            live.add(list(self._without_frames((0, line) for line in lines)))
        except NotFound:
            pass
        if live.lines > self._history.lines:
            if not live.begins_as(self._history):
                forget(self._history.path)
            live.path.replace(self._history.path)
            self._history.lines = live.lines
        live.path.unlink(missing_ok=True)


def pages(workspace: Workspace, kind: str, name: str, start: int) -> Iterator[list[tuple[int, str]]]:
    """The log history from a moment (ns since the epoch) on, in non-empty pieces: time and text, none twice.

    A page ends at a count of lines, not between two moments, so the next one begins at the last one's last moment, again. Of a moment
    with more lines than the largest page has, the rest is lost: frames are then incomplete, and looked for in the live log.
    """
    limit, at_start = LIMIT, Counter[str]()
    while True:
        page = workspace.log_page(kind, name, start, int((workspace.now() + AFTER) * 10**9), limit)
        seen = Counter(at_start)
        fresh = []
        for moment, text in page:
            if moment == start and seen[text] > 0:
                seen[text] -= 1
            else:
                fresh.append((moment, text))
        if fresh:
            yield fresh
        if len(page) < limit:
            return
        last = page[-1][0]
        if last == start and limit < MAX_LIMIT:
            limit, at_start = limit * 2, Counter(text for _, text in page)
        elif last == start:
            start, at_start = start + 1, Counter()
        else:
            at_start = Counter(text for moment, text in page if moment == last)
            start = last


def live_lines(workspace: Workspace, kind: str, name: str, replica: str, idle: float = LIVE_IDLE) -> Iterator[str]:
    """The lines of a replica's log until it ends or falls silent."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    part = ""
    try:
        for data in workspace.live_log(kind, name, replica, idle):
            *lines, part = (part + decoder.decode(data)).split("\n")
            yield from (line.rstrip("\r") for line in lines)
    except NotFound:
        raise
    except EvalxError:
        pass  # silence, or a connection that was cut: what came so far counts
    if part:
        yield part
