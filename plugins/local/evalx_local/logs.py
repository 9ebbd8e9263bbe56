"""Reading the log of a job while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from evalx.logtimes import offset


def lines(path: Path, follow: Callable[[], bool], since: float | None = None) -> Iterator[str]:
    """The lines of a log, without their ends. At the end of the file, `follow` says (after waiting a little) whether more may come.

    since: from then on (seconds since the epoch), as far as that is known.
    """
    if not path.exists():
        return
    begin = 0 if since is None else offset(path, since) or 0
    with path.open(encoding="utf-8", errors="replace", newline="\n") as log:
        log.seek(begin)
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
