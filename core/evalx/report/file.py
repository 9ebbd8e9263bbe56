"""Where a report is written: complete or not at all, and never over a file that is something else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from evalx.errors import ConfigError, StoreError
from evalx.results.files import open_regular

MARK = '<meta name="generator" content="evalx report">'
"""What tells a report of ours from any other file; within its first 1,000 bytes."""


def is_report(path: Path) -> bool:
    """Whether that file is a report. A link is none."""
    try:
        with open_regular(path) as file:
            return MARK.encode() in file.read(1000)
    except OSError:
        return False


def write_report(path: Path, page: str) -> None:
    """Write the page, readable by the user alone. An older report there is replaced, and keeps its permissions; folders are made.

    Raises ConfigError if something else is there, and StoreError if it cannot be written.
    """
    mode = 0o600
    if os.path.lexists(path):
        if not is_report(path):
            raise ConfigError(f"{path} exists and is not a report: it is left as it is", "choose another file: --output FILE")
        mode = path.stat().st_mode & 0o777
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(page)
        temporary.replace(path)
    except OSError as error:
        hint = "write it elsewhere: --output FILE"
        raise StoreError(f"{path} cannot be written: {error.strerror or error}", hint) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
