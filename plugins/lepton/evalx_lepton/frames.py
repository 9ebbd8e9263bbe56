"""Results come home in a job's log: lines of base64 between a header and a trailer, a gzipped tar once they are put together.

    EVALX-FRAME <key>.<attempt> begin <lines> <bytes> <SHA-256>
    EVALX-FRAME <key>.<attempt> <number>:<base64>
    EVALX-FRAME <key>.<attempt> end <exit code> <start> <end>

The key is the task's own. Lines may come twice and in any order; what counts is that all are there and the hash is right. A job that
Lepton starts again prints further sets: the last complete one counts. What is in the archive was written by programs nobody has to
trust, so nothing but plain files of a bounded size gets out of it.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from attrs import define, field, frozen

from evalx.harnesses.api import ResultError
from evalx.model import Artifact

MARKER = "EVALX-FRAME"

MAX_ARCHIVE = 8 * 2**20
"""Bytes of an archive that is sent through a log."""

MAX_UNPACKED = 256 * 2**20
MAX_MEMBERS = 5_000
MAX_LINES = 2 * MAX_ARCHIVE // 9_000
MAX_SETS = 100

LEFT = ".evalx-left"
"""The file of the archive that names the results that are not in it: SHA-256, size and path on each line."""

LAST_MOMENT = 2**33
"""Seconds since the epoch, in the year 2242."""

N = TypeVar("N", int, float)

_LINE = re.compile(rf"{MARKER} (\S+?)\.(\S+) (begin|end|\d+:)(.*)$")


def _within(number: N, largest: int) -> N:
    """Raises ValueError for what no shell and no clock writes: a task knows its own key, and may print frames itself."""
    if not 0 <= number <= largest:
        raise ValueError(number)
    return number


@frozen
class Frames:
    """A complete set. exit_code: of the task's command. started, ended: seconds since the epoch."""

    archive: bytes
    exit_code: int
    started: float
    ended: float


@define
class _Set:
    lines: dict[int, str] = field(factory=dict)
    header: tuple[int, int, str] | None = None
    trailer: tuple[int, float, float] | None = None

    @property
    def whole(self) -> bool:
        return self.header is not None and self.trailer is not None and len(self.lines) >= self.header[0]


class FrameReader:
    """Finds the frames of one task in the lines of its job's log."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._sets: dict[str, _Set] = {}

    def feed(self, line: str) -> bool:
        """Take a line; whether it is one of the frames, which are not for people to read."""
        found = _LINE.search(line) if MARKER in line else None
        if found is None or found[1] != self._key:
            return False
        if found[2] not in self._sets and len(self._sets) >= MAX_SETS:
            return True
        frames = self._sets.setdefault(found[2], _Set())
        self._take(frames, found[3], found[4].split())
        return True

    def _take(self, frames: _Set, kind: str, words: list[str]) -> None:
        try:
            if kind == "begin":
                frames.header = (int(words[0]), int(words[1]), words[2])
            elif kind == "end":
                frames.trailer = (_within(int(words[0]), 255), _within(float(words[1]), LAST_MOMENT), _within(float(words[2]), LAST_MOMENT))
            elif len(frames.lines) < MAX_LINES:
                frames.lines[int(kind[:-1])] = words[0] if words else ""
        except (ValueError, IndexError):
            return  # a line that was cut: without it the set stays incomplete

    @property
    def complete(self) -> bool:
        """Whether the last set that was begun is all there."""
        return bool(self._sets) and list(self._sets.values())[-1].whole

    def frames(self) -> Frames:
        """The last complete set. Raises ResultError if there is none, or if it is not what its header says."""
        whole = [frames for frames in self._sets.values() if frames.whole]
        if not whole:
            raise ResultError(self._missing())
        return _joined(whole[-1])

    def _missing(self) -> str:
        if not self._sets:
            return "the job's log holds no results"
        last = list(self._sets.values())[-1]
        wanted = last.header[0] if last.header else "an unknown number of"
        return f"the results in the job's log are incomplete: {len(last.lines)} of {wanted} lines"


def _joined(frames: _Set) -> Frames:
    assert frames.header is not None
    assert frames.trailer is not None
    count, size, digest = frames.header
    if set(frames.lines) != set(range(1, count + 1)):
        raise ResultError(f"the results in the job's log are not {count} lines, as their header says")
    try:
        archive = base64.b64decode("".join(frames.lines[number] for number in range(1, count + 1)), validate=True)
    except (binascii.Error, ValueError):
        raise ResultError("the results in the job's log are no base64") from None
    if len(archive) != size or hashlib.sha256(archive).hexdigest() != digest:
        raise ResultError("the results in the job's log were damaged on their way: their SHA-256 is not what their header says")
    return Frames(archive, *frames.trailer)


# ---------------------------------------------------------------------- unpacking


def unpack(archive: bytes, folder: Path) -> tuple[Artifact, ...]:
    """Replace `folder/results` by the results in the archive; returns those that were left where they are, by their path there.

    Raises ResultError for anything that is neither a plain file nor a folder below `results`, and for more than is sensible. Then
    nothing is replaced.
    """
    part = folder / "results.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        left = _unpack(archive, part)
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise ResultError(f"the results in the job's log cannot be unpacked: {error}") from None
    else:
        shutil.rmtree(folder / "results", ignore_errors=True)
        (part / "results").rename(folder / "results")
        return left
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(archive: bytes, folder: Path) -> tuple[Artifact, ...]:
    (folder / "results").mkdir()
    left: tuple[Artifact, ...] = ()
    with gzip.open(io.BytesIO(archive)) as unzipped, tarfile.open(fileobj=_Bounded(unzipped), mode="r|") as members:
        for number, member in enumerate(members):
            if number >= MAX_MEMBERS:
                raise ResultError(f"the results are more than {MAX_MEMBERS:,} files")
            if member.name == LEFT and member.isreg():
                left = _read_left(_content(members, member).read(MAX_ARCHIVE))
            else:
                _write(folder, members, member)
    return left


class _Bounded(io.BytesIO):
    """A stream that ends in an error after `MAX_UNPACKED` bytes, whatever its headers say."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        super().__init__()
        self._stream = stream
        self._rest = MAX_UNPACKED

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._rest + 1 if size is None or size < 0 else min(size, self._rest + 1)
        data = self._stream.read(wanted)
        self._rest -= len(data)
        if self._rest < 0:
            raise ResultError(f"the results are larger than {MAX_UNPACKED // 2**20} MiB")
        return data


def _content(members: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = members.extractfile(member)
    if content is None:
        raise ResultError(f"{member.name!r} among the results is no file")
    return content


def _write(folder: Path, members: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] != ("results",):
        raise ResultError(f"{member.name!r} among the results is outside their folder")
    if member.isdir():
        (folder / path).mkdir(parents=True, exist_ok=True)
        return
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None or len(path.parts) < 2:
        raise ResultError(f"{member.name!r} among the results is no plain file")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(_content(members, member), file)


def _read_left(data: bytes) -> tuple[Artifact, ...]:
    found = []
    for line in data.decode("utf-8", "backslashreplace").splitlines():
        digest, _, rest = line.partition(" ")
        size, _, path = rest.partition(" ")
        if re.fullmatch(r"[0-9a-f]{64}", digest) and size.isdigit() and path:
            found.append(Artifact(path, int(size), digest))
    return tuple(found)
