"""The end of a task's log, safe to show: huge files are read from their end only, terminal escapes are taken out."""

from __future__ import annotations

import os
import re
from pathlib import Path

from evalx.redaction import redact
from evalx.results.files import open_regular

MAX_LINE = 500
_WINDOW = 256 * 1024
_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands: titles, links, clipboard
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # device control strings and their like
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # colours, cursor movement, everything shorter
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(line: str) -> str:
    """The line as it may be shown: without escape sequences, control characters, direction marks, and what a carriage return overwrote."""
    visible = _ESCAPES.sub("", line).rstrip("\r\n").rpartition("\r")[2]
    return _CONTROL.sub("", visible)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, cleaned, cut at 500 characters each. Empty if there is no readable regular file.

    At most the last 256 KiB are read, whatever the size of the file.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _WINDOW))
            text = file.read(_WINDOW).decode("utf-8", "replace")
    except OSError:
        return []
    found = text.split("\n")
    if size > _WINDOW and len(found) > 1:
        del found[0]
    if found and not found[-1]:
        del found[-1]
    shown = redact("\n".join(map(clean, found[-lines:] if lines > 0 else ())))
    return [line[:MAX_LINE] for line in shown.split("\n")] if lines > 0 and found else []


def last_line(directory: Path) -> str | None:
    """The last line with text in it of the most recently written `*.log` directly in a folder, if there is one."""
    logs = sorted(directory.glob("*.log"), key=lambda path: path.lstat().st_mtime, reverse=True)
    for path in logs:
        for line in reversed(tail(path, 50)):
            if line.strip():
                return line.strip()
    return None
