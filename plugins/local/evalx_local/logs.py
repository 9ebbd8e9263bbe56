"""Reading the log of a job while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path


def lines(path: Path, follow: Callable[[], bool]) -> Iterator[str]:
    """The lines of a log, without their ends. At the end of the file, `follow` says (after waiting a little) whether more may come."""
    if not path.exists():
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
