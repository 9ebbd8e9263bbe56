"""Reading files that a task left behind, which anybody may have written: no link followed, no device opened, no flood let in."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from evalx.harnesses.api import ResultError
from evalx.model import Artifact

MAX_RESULT_BYTES = 16 * 2**20
MAX_ARTIFACTS = 10_000


def open_regular(path: Path) -> BufferedReader:
    """A regular file, open for reading. Raises OSError; a link, device, folder or pipe counts as unreadable and is never waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_result_text(results: Path, name: str) -> str:
    """The text of a result file. name: relative to the folder of results.

    Raises ResultError if it is missing, empty, over 16 MiB, not UTF-8 or no regular file.
    """
    if results.is_symlink():
        raise ResultError(f"{results.name} is a link, not a folder")
    try:
        with open_regular(results / name) as file:
            data = file.read(MAX_RESULT_BYTES + 1)
    except FileNotFoundError:
        raise ResultError(f"no result file: {name} is missing") from None
    except OSError as error:
        raise ResultError(f"{name} cannot be read: {error.strerror or error}") from None
    return _text(name, data)


def _text(name: str, data: bytes) -> str:
    if len(data) > MAX_RESULT_BYTES:
        raise ResultError(f"{name} is larger than {MAX_RESULT_BYTES // 2**20} MiB")
    if not data.strip():
        raise ResultError(f"{name} is empty")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ResultError(f"{name} is not UTF-8 text") from None


def regular_files(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder, in a stable order. Links, to files or folders, are left out."""
    if folder.is_symlink():
        return
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def artifacts(directory: Path) -> tuple[tuple[Artifact, ...], str | None]:
    """The result files of a task, hashed, with paths relative to `directory`; and in words what is not among them, if anything."""
    found: list[Artifact] = []
    unreadable = []
    for path in regular_files(directory / "results"):
        if len(found) >= MAX_ARTIFACTS:
            return tuple(found), f"only the first {MAX_ARTIFACTS} result files are listed"
        try:
            found.append(artifact(directory, path))
        except OSError as error:
            unreadable.append(f"{path.name}: {error.strerror or error}")
    return tuple(found), f"{len(unreadable)} result files cannot be read ({unreadable[0]})" if unreadable else None


def artifact(directory: Path, path: Path) -> Artifact:
    """Size and SHA-256 of one file, read in pieces. Raises OSError."""
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    name = os.fsencode(path.relative_to(directory)).decode("utf-8", "backslashreplace")
    return Artifact(name, size, digest)
