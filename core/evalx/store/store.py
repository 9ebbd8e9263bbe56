"""All runs of this user on this machine: reading them, and opening one for writing."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from evalx import failpoints, processes
from evalx.errors import RunNotFound, StoreError
from evalx.model import Event, RunPlan
from evalx.places import DATABASE, state_directory
from evalx.redaction import refer, without_literals
from evalx.store import lease, records
from evalx.store.database import Database
from evalx.store.journal import Journal
from evalx.store.lease import Holder
from evalx.store.records import ResourceRecord, RunRecord, TaskRecord, dumps
from evalx.store.states import Cleanliness, RunState, TaskState

DYING_SECONDS, HEALTHY_SECONDS = 1.0, 0.1
"""How long a process that owns a run is watched for its end, if it was killed, and if there is no sign of that."""


class Store:
    """The database of runs. A context manager.

    Other processes and threads may read and write at the same time. Every method raises StoreError if the database cannot be used.
    """

    def __init__(self, directory: Path | None = None, now: Callable[[], float] = time.time) -> None:
        """directory: see `state_directory`; made if missing. now: the clock, in seconds since the epoch.

        Raises StoreError if the database cannot be opened, was written by a newer evalx, or is damaged and was put aside.
        """
        self.now = now
        self._db = Database((directory or state_directory()).absolute() / DATABASE)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction on the database, for the journal."""
        return self._db.transaction()

    def create(self, plan: RunPlan, directory: Path, config_yaml: str) -> Journal:
        """Begin a run: its record, its tasks, the lease, and plan.json and config.yaml in its directory; all of it or nothing.

        Secrets that the plan itself holds (`lit:…`) are in its record, without which it could not be resumed, and not in the files.
        directory: the run's own; made if missing. Raises StoreError, also if another run's plan is in that directory.
        """
        run_id, now, packed = plan.run_id, self.now(), dumps(plan)
        run = (run_id, str(directory.absolute()), plan.executor, RunState.PLANNED, Cleanliness.CLEAN, plan.created or now, now, packed)
        tasks = [(run_id, task.index, dumps(task), TaskState.PENDING, task.attempt) for task in plan.tasks]
        refer(json.loads(packed))
        files = {"plan.json": without_literals(packed) + "\n", "config.yaml": without_literals(config_yaml)}
        with _new_files(directory, files), self.transaction() as db:
            db.execute(
                "INSERT INTO runs (run_id, directory, executor, state, cleanliness, created, updated, plan) VALUES (?,?,?,?,?,?,?,?)", run
            )
            db.executemany("INSERT INTO tasks (run_id, idx, spec, state, attempt) VALUES (?, ?, ?, ?, ?)", tasks)
            fence = lease.acquire(db, run_id, now)
            db.execute(
                "INSERT INTO events (run_id, seq, time, kind, name, state, data) VALUES (?, 1, ?, 'run', '', ?, '{}')",
                (run_id, now, RunState.PLANNED),
            )
        return Journal(self, self._run(run_id), fence, last_seq=1)

    def open(self, run_id: str, heir_of: int | None = None) -> Journal:
        """Go on with a run: take the lease, bring its event file up to date. heir_of: the fence of an owner that hands it over.

        Raises RunBusy, naming the owner, if a process that may be alive has it (this one included), and RunNotFound.
        """
        record = self._run(run_id)
        if heir_of is None:
            self._let_die(run_id)
        with self.transaction() as db:
            fence = lease.acquire(db, run_id, self.now(), heir_of)
            last_seq = db.execute("SELECT max(seq) FROM events WHERE run_id = ?", (run_id,)).fetchone()[0]
        failpoints.reach("lease.taken")
        return Journal(self, record, fence, last_seq)

    def _let_die(self, run_id: str) -> None:
        """A process that was just killed may take a moment to be gone: do not call the run busy for that."""
        began = time.monotonic()
        while (holder := self.holder(run_id)) is not None and holder.alive and holder.local and holder.pid != os.getpid():
            if time.monotonic() - began > (DYING_SECONDS if processes.is_dying(holder.pid) else HEALTHY_SECONDS):
                return
            time.sleep(0.02)

    def find(self, text: str) -> RunRecord:
        """The run of that id, the only one whose id begins so, or the newest for `last`. Raises RunNotFound."""
        if text == "last":
            newest = self.runs(limit=1)
            if not newest:
                raise RunNotFound("there are no runs yet", "evalx run quickstart")
            return newest[0]
        ids = [row["run_id"] for row in self._db.rows("SELECT run_id FROM runs WHERE substr(run_id, 1, ?) = ?", (len(text), text))]
        if text in ids:
            return self._run(text)
        if not text or not ids:
            raise RunNotFound(f'no run "{text}"', "evalx ls shows them all")
        if len(ids) > 1:
            raise RunNotFound(f'"{text}" may be any of {len(ids)} runs: {", ".join(ids[:5])}{", …" * (len(ids) > 5)}', "give more letters")
        return self._run(ids[0])

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """The runs, newest first."""
        rows = self._db.rows("SELECT * FROM runs ORDER BY rowid DESC LIMIT ?", (-1 if limit is None else limit,))
        return [records.run_record(row) for row in rows]

    def tasks(self, run_id: str) -> list[TaskRecord]:
        """A run's tasks, in the plan's order."""
        return [records.task_record(row) for row in self._db.rows("SELECT * FROM tasks WHERE run_id = ? ORDER BY idx", (run_id,))]

    def resources(self, run_id: str) -> list[ResourceRecord]:
        """Everything a run meant to create, in the order in which it did."""
        return [records.resource_record(row) for row in self._db.rows("SELECT * FROM resources WHERE run_id = ? ORDER BY rowid", (run_id,))]

    def events(self, run_id: str, after: int = 0) -> list[Event]:
        """A run's events in order; after: only those with a greater seq."""
        rows = self._db.rows("SELECT * FROM events WHERE run_id = ? AND seq > ? ORDER BY seq", (run_id, after))
        return [records.event(row) for row in rows]

    def kept_until(self, run_id: str) -> float:
        """Until when a run keeps endpoints, in seconds since the epoch; 0 if it keeps none."""
        sql = "SELECT data FROM events WHERE run_id = ? AND kind = 'run' AND state = ? ORDER BY seq DESC LIMIT 1"
        rows = self._db.rows(sql, (run_id, RunState.KEEPING))
        return float(json.loads(rows[0]["data"]).get("until") or 0.0) if rows else 0.0

    def holder(self, run_id: str) -> Holder | None:
        """The process that owns a run, alive or not; None if it was given up in order."""
        rows = self._db.rows("SELECT * FROM leases WHERE run_id = ?", (run_id,))
        return lease.holder(rows[0], self.now()) if rows else None

    def _run(self, run_id: str) -> RunRecord:
        rows = self._db.rows("SELECT * FROM runs WHERE run_id = ?", (run_id,))
        if not rows:
            raise RunNotFound(f'no run "{run_id}"', "evalx ls shows them all")
        return records.run_record(rows[0])


@contextmanager
def _new_files(directory: Path, files: dict[str, str]) -> Iterator[None]:
    """Write the files (0600, into a folder 0700) before the block; take them away again if it fails."""
    written: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            _write_new(directory / name, content, written)
        yield
    except BaseException as error:
        _remove(written, directory)
        if isinstance(error, OSError):
            hint = "set execution.output_dir to a folder that is writable and has space"
            raise StoreError(f"cannot write {error.filename or directory}: {error.strerror or error}", hint) from error
        raise


def _write_new(path: Path, content: str, written: list[Path]) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    written.append(path)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _remove(written: list[Path], directory: Path) -> None:
    """The folder goes too if it is empty then."""
    with suppress(OSError):
        for path in written:
            path.unlink()
        directory.rmdir()
