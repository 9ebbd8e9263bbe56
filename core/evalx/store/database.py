"""The SQLite file: opened, checked, written in whole transactions, and every failure put into words."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evalx import failpoints
from evalx.errors import StoreError

SCHEMA_VERSION = 1
BUSY_SECONDS = 10.0
"""How long to wait for another process's write; each takes milliseconds."""

SCHEMA = """
CREATE TABLE runs (
  run_id TEXT PRIMARY KEY, directory TEXT NOT NULL, executor TEXT NOT NULL, state TEXT NOT NULL, outcome TEXT,
  exit_code INTEGER, cleanliness TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, plan TEXT NOT NULL
);
CREATE TABLE tasks (
  run_id TEXT NOT NULL REFERENCES runs, idx INTEGER NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
  reason TEXT, result TEXT, started REAL, ended REAL,
  PRIMARY KEY (run_id, idx)
);
CREATE TABLE resources (
  run_id TEXT NOT NULL REFERENCES runs, kind TEXT NOT NULL, idx INTEGER NOT NULL, attempt INTEGER NOT NULL, name TEXT NOT NULL,
  subject TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, handle TEXT, phase TEXT, done INTEGER, total INTEGER,
  created REAL NOT NULL, updated REAL NOT NULL,
  PRIMARY KEY (run_id, kind, idx, attempt)
);
CREATE INDEX resources_by_subject ON resources (run_id, subject);
CREATE TABLE events (
  run_id TEXT NOT NULL REFERENCES runs, seq INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  state TEXT NOT NULL, reason TEXT, data TEXT NOT NULL,
  PRIMARY KEY (run_id, seq)
);
CREATE TABLE leases (
  run_id TEXT PRIMARY KEY REFERENCES runs, fence INTEGER NOT NULL, pid INTEGER, started REAL, birth TEXT, host TEXT, machine TEXT,
  heartbeat REAL NOT NULL
);
"""
"""`subject` is the name of the spec. A lease without pid is released; its row stays, so that fences only ever grow."""

_REASONS = {
    "SQLITE_FULL": ("the disk is full", "free some disk space, or set EVALX_STATE_DIR to a folder on another disk"),
    "SQLITE_IOERR": ("reading or writing failed", "check the disk's space and health, or set EVALX_STATE_DIR to a folder on another disk"),
    "SQLITE_READONLY": ("it is read-only", "make it writable, or set EVALX_STATE_DIR to a folder that is"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "make its folder writable, or set EVALX_STATE_DIR to one that is"),
    "SQLITE_PERM": ("permission denied", "make it writable, or set EVALX_STATE_DIR to a folder that is"),
    "SQLITE_BUSY": (f"another process kept it locked for {BUSY_SECONDS:g} s", "try again; find the process with: fuser {path}"),
}
_CORRUPT = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}


class Database:
    """One connection, used under a lock so that threads may read while the run's thread writes."""

    def __init__(self, path: Path) -> None:
        """Opens or creates. Raises StoreError if that fails, if a newer evalx wrote it, or if it is corrupt and was put aside."""
        self.path = path
        self._lock = threading.RLock()
        self._inode: int | None = None
        self._connection: sqlite3.Connection | None = None
        with self._explained():
            self._create(path)
            self._inode = path.stat().st_ino
            self._connection = _connect(path)
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises StoreError."""
        with self._lock, self._explained():
            return self._open().execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done in the block is committed as a whole, or not at all if anything is raised. Raises StoreError."""
        with self._lock, self._explained():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                failpoints.reach("commit.before")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        failpoints.reach("commit.after")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self.path} is closed")
        return self._connection

    def _create(self, path: Path) -> None:
        """If there is no database, make one: the folder 0700, the file 0600 (SQLite gives its side files the same).

        It appears with its tables or not at all, so an empty file is a damaged one, whatever emptied it.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self._inode = path.stat().st_ino
            # Not by opening it: a process that closes a file gives up its locks on it, those of other connections of this process too.
            if not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            if not path.stat().st_size:
                raise self._put_aside("it is empty")
            return
        self._inode = None
        if Path(f"{path}-wal").exists() and not path.exists():
            # What SQLite would take for the end of a new database.
            raise self._put_aside("its main file is missing")
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent, ignore_cleanup_errors=True) as folder:
            part = Path(folder, path.name)
            os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _fill(part)
            try:
                os.link(part, path)
            except FileExistsError:
                return  # another process was faster
            except OSError:
                part.rename(path)  # a file system without links

    def _prepare(self) -> None:
        """Refuse a file from the future or one that is damaged."""
        connection = self._open()
        version = _version(connection)
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer evalx (schema {version}, this one knows {SCHEMA_VERSION})",
                "pip install --upgrade evalx",
            )
        if version < SCHEMA_VERSION:
            raise self._put_aside("it has no tables of evalx")
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise self._put_aside(problem)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except UnicodeEncodeError as error:
            raise StoreError(f"cannot be stored, because it is no valid text: {error}") from error
        except OSError as error:
            path = error.filename or self.path
            hint = "make its folder writable, or set EVALX_STATE_DIR to one that is"
            raise StoreError(f"cannot write {path}: {error.strerror or error}", hint) from error

    def _explain(self, error: sqlite3.Error) -> StoreError:
        name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
        if name in _CORRUPT:
            return self._put_aside(str(error))
        if name not in _REASONS:
            return StoreError(f"cannot use {self.path}: {error}")
        reason, hint = _REASONS[name]
        return StoreError(f"cannot use {self.path}: {reason} ({error})", hint.format(path=self.path))

    def _put_aside(self, problem: str) -> StoreError:
        """Never mend and never overwrite: what is damaged may still hold names of things that are alive."""
        self.close()
        now = f"{time.strftime('%Y%m%dT%H%M%S')}.{time.time_ns() % 10**9:09}"
        aside = self.path.with_name(f"{self.path.name}.corrupt-{now}")
        with suppress(OSError):
            if (self.path.stat().st_ino if self.path.exists() else None) == self._inode:
                for suffix in ("", "-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        moved = aside.exists() or Path(f"{aside}-wal").exists()
        where = f"it was put aside as {aside}" if moved else "it could not be put aside"
        return StoreError(
            f"{self.path} is damaged ({problem}); {where}. What it knew of runs is not available to evalx any more",
            "each run's own folder is untouched: plan.json and events.jsonl name what it created. "
            "The next command begins with an empty database",
        )


def _fill(path: Path) -> None:
    """Make the tables, on disk when this returns."""
    connection = _connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """The busy timeout does not cover two processes that switch a new file at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
