"""Reading the log of a job while it is being written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

TAIL = 16384


def lines(path: Path, follow: Callable[[], bool]) -> Iterator[str]:
    """The lines of a log, without their ends. At the end of the file, `follow` says (after waiting a little) whether more may come."""
    if not path.exists() and not follow():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as log:
        part = ""
        while True:
            more = follow()  # asked before reading: what is written last must not be missed
            while text := log.readline():
                part += text
                if part.endswith("\n"):
                    yield part.rstrip("\r\n")
                    part = ""
            if not more:
                break
    if part:
        yield part


def last_line(path: Path) -> str:
    """The last line that says anything; empty if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(log.tell() - TAIL, 0))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return said[-1][:300] if said else ""
