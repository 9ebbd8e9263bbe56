"""What data a task was given: a fingerprint of its folder, so that two runs can be told to have been asked the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evalx.model import TaskSpec
from evalx.results.files import open_regular, regular_files

MAX_READ = 256 * 2**20
"""Bytes that are read of a folder; what is beyond counts by name and size only, so that a run starts at once."""

MAX_FILES = 100_000
"""A folder with more has no fingerprint."""


def datasets(tasks: Iterable[TaskSpec]) -> dict[str, dict[str, Any]]:
    """Task name to path, SHA-256, files and bytes of its `dataset_dir`, for folders that this machine has and can read."""
    known: dict[str, dict[str, Any] | None] = {}
    for path in {task.options.get("dataset_dir") for task in tasks}:
        if path and Path(path).is_dir():
            known[path] = _fingerprint(Path(path))
    found = {task.name: known.get(task.options.get("dataset_dir") or "") for task in tasks}
    return {name: data for name, data in found.items() if data}


def _fingerprint(folder: Path) -> dict[str, Any] | None:
    folder, whole, read, files, size = folder.resolve(), hashlib.sha256(), 0, 0, 0
    try:
        for path in regular_files(folder):
            with open_regular(path) as file:
                bytes_here = os.fstat(file.fileno()).st_size
                fits = read + bytes_here <= MAX_READ
                content = hashlib.file_digest(file, "sha256").hexdigest() if fits else "unread"
            read, files, size = read + bytes_here * fits, files + 1, size + bytes_here
            if files > MAX_FILES:
                return None
            whole.update(f"{os.fsencode(path.relative_to(folder))!r} {bytes_here} {content}\n".encode())
    except OSError:
        return None
    return {"path": str(folder), "sha256": whole.hexdigest(), "files": files, "bytes": size, "whole": read == size}
