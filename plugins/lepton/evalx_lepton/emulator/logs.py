"""The workloads' output: files that processes append to, and when each part of them was seen, which gives lines their times."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

LINE_LIMIT = 256 * 1024
"""Bytes of a line that are kept, as log stores do."""


@frozen
class Line:
    """One line and when it was written, in nanoseconds since 1970."""

    time: int
    text: str


@define
class LogFile:
    """The output of one replica. labels: what the log store knows it by. closed: the process has ended."""

    path: Path
    labels: dict[str, str]
    closed: bool = False
    _ends: list[int] = field(factory=list)
    _times: list[int] = field(factory=list)

    def collect(self) -> None:
        """Note the time of what has been written since the last call; whole lines only, until the log is closed."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        known = self._ends[-1] if self._ends else 0
        if size > known and (end := size if self.closed else self._last_newline(known, size)) > known:
            # A part has no more lines than bytes, so no line of this one can come before one of the last.
            earliest = self._times[-1] + known - (self._ends[-2] if len(self._ends) > 1 else 0) if self._times else 0
            self._ends.append(end)
            self._times.append(max(time.time_ns(), earliest))

    def close(self) -> None:
        """The process has ended: its last line counts, whole or not."""
        self.closed = True
        self.collect()

    def lines(self, start: int, end: int, resolution: int = 1) -> Iterator[Line]:
        """Lines with start <= time < end, in order. Lines seen together are a nanosecond apart, and then cut to the resolution."""
        first = max(bisect_left(self._times, start) - 1, 0)
        if not self._times[first:]:
            return
        with self.path.open("rb") as file:
            for number in range(first, len(self._times)):
                if self._times[number] >= end + resolution:
                    return
                yield from self._part(file.fileno(), number, start, end, resolution)

    def read(self, offset: int, limit: int) -> bytes:
        """Raw output, for who follows it live."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def _part(self, descriptor: int, number: int, start: int, end: int, resolution: int) -> Iterator[Line]:
        begin = self._ends[number - 1] if number else 0
        content = os.pread(descriptor, self._ends[number] - begin, begin)
        for index, text in enumerate(content.removesuffix(b"\n").split(b"\n")):
            moment = (self._times[number] + index) // resolution * resolution
            if start <= moment < end:
                yield Line(moment, text[:LINE_LIMIT].decode(errors="replace"))

    def _last_newline(self, begin: int, end: int) -> int:
        """The end of the last whole line in this part of the file; `begin` if there is none."""
        with self.path.open("rb") as file:
            while end > begin:
                step = min(end - begin, 1 << 16)
                file.seek(end - step)
                found = file.read(step).rfind(b"\n")
                if found >= 0:
                    return end - step + found + 1
                end -= step
        return begin


@frozen
class Query:
    """What is asked of the log store. start, end: nanoseconds, start <= time < end."""

    start: int
    end: int
    limit: int
    forward: bool
    text: str = ""


def search(files: Sequence[LogFile], query: Query, resolution: int = 1) -> list[tuple[LogFile, list[Line]]]:
    """The first (or last, if backward) `limit` lines of all files together, by file; in the order asked for."""
    found = [(line, number) for number, file in enumerate(files) for line in file.lines(query.start, query.end, resolution)]
    if query.text:
        found = [entry for entry in found if query.text in entry[0].text]
    found.sort(key=lambda entry: entry[0].time)
    kept = found[: query.limit] if query.forward else found[::-1][: query.limit]
    by_file: dict[int, list[Line]] = {}
    for line, number in kept:
        by_file.setdefault(number, []).append(line)
    return [(files[number], lines) for number, lines in by_file.items()]


def as_loki(found: Sequence[tuple[LogFile, list[Line]]]) -> dict[str, object]:
    """The answer of a Loki server."""
    result = [{"stream": file.labels, "values": [[str(line.time), line.text] for line in lines]} for file, lines in found]
    return {"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}}
