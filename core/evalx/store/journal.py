"""The write side of one run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from attrs import evolve

from evalx import failpoints
from evalx.errors import StoreError
from evalx.model import EndpointHandle, Event, Handle, Json, Outcome, RunPlan, Spec, TaskResult, TaskSpec
from evalx.serial import to_json
from evalx.store import lease
from evalx.store.eventlog import EventLog
from evalx.store.records import ResourceRecord, RunRecord, TaskRecord, dumps, kind_of, printable
from evalx.store.states import Cleanliness, ResourceState, RunOutcome, RunState, TaskState

if TYPE_CHECKING:
    from evalx.store.store import Store

Statement = tuple[str, Sequence[Any]]

_RESOURCE = """
INSERT INTO resources (run_id, kind, idx, attempt, name, subject, spec, state, reason, handle, created, updated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, kind, idx, attempt) DO UPDATE
SET state = excluded.state, reason = excluded.reason, handle = coalesce(excluded.handle, handle), updated = excluded.updated
WHERE name = excluded.name
"""
_TASK = """
UPDATE tasks SET spec = :spec, state = :state, reason = :reason, result = :result, ended = :ended,
  started = CASE WHEN :fresh OR attempt <> :attempt THEN :started ELSE coalesce(started, :started) END, attempt = :attempt
WHERE run_id = :run_id AND idx = :idx AND state <> 'scored'
"""
_PROGRESS = """
UPDATE resources SET phase = ?, done = ?, total = ?, reason = ?, updated = ? WHERE rowid = (
  SELECT rowid FROM resources WHERE run_id = ? AND subject = ? AND kind = coalesce(?, kind) ORDER BY rowid DESC LIMIT 1)
"""
_RUN = """
UPDATE runs
SET state = ?, outcome = coalesce(?, outcome), cleanliness = coalesce(?, cleanliness), exit_code = ?, updated = ?
WHERE run_id = ?
"""
_EVENT = "INSERT INTO events (run_id, seq, time, kind, name, state, reason, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Journal:
    """Writes down what happens in a run, while this process owns it. A context manager; closing gives the run up.

    Each call is one transaction: the new state, the event that tells of it, and the proof that the lease still holds. Every write
    raises RunBusy if another process has taken the run over, and StoreError if it cannot be committed; then nothing of it is.
    To be used from one thread.
    """

    def __init__(self, store: Store, record: RunRecord, fence: int, last_seq: int) -> None:
        """Made by `Store.create` and `Store.open`. fence: of the lease this process has just acquired."""
        self.record = record
        self.last_seq = last_seq
        self._store = store
        self._fence = fence
        self._open: sqlite3.Connection | None = None
        self._unlogged: list[Event] = []
        self._specs: dict[int, tuple[Spec, str]] = {}
        self._log = EventLog(record.directory / "events.jsonl", lambda seq: store.events(record.run_id, after=seq))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    @property
    def plan(self) -> RunPlan:
        return self.record.plan

    @property
    def fence(self) -> int:
        """Of this process's lease: who is told it may take the run over."""
        return self._fence

    @property
    def directory(self) -> Path:
        return self.record.directory

    @contextmanager
    def batch(self) -> Iterator[None]:
        """The writes in the block are one transaction: all of them are committed at its end, or none. May be nested."""
        if self._open is not None:
            yield
            return
        before = self.record, self.last_seq
        try:
            with self._store.transaction() as self._open:
                self._hold(self._open)
                yield
        except BaseException:
            self.record, self.last_seq = before
            self._unlogged.clear()
            raise
        finally:
            self._open = None
        self._log_all()

    def _packed(self, spec: Spec) -> str:
        """The spec as JSON; kept, since the same spec is written with every change of its state."""
        kept, packed = self._specs.get(id(spec), (None, ""))
        if kept is not spec:
            packed = dumps(spec)
            self._specs[id(spec)] = spec, packed
        return packed

    def _log_all(self) -> None:
        events, self._unlogged = self._unlogged, []
        for event in events:
            self._log.append(event)
        failpoints.reach("events.written")

    def resource(self, spec: Spec, name: str, state: ResourceState, *, reason: str | None = None, handle: Handle | None = None) -> Event:
        """The state of what a spec's current attempt is at the backend, under that name. Without handle, the one that is known stays.

        The event's kind is `endpoint`, or `job` for the resource of a task. Raises StoreError if this attempt has another name already.
        """
        now, kind = self._store.now(), kind_of(spec)
        packed = dumps(handle) if handle is not None else None
        key = (self.record.run_id, kind, spec.index, spec.attempt)
        row = (*key, name, spec.name, self._packed(spec), state.value, printable(reason), packed, now, now)
        data = {"resource": name, "attempt": spec.attempt}
        if isinstance(handle, EndpointHandle):
            data["url"] = handle.url
        statement = (_RESOURCE, row)
        return self._write("job" if kind == "task" else kind, spec.name, state, reason, data, statement)

    def began(self, spec: TaskSpec) -> float | None:
        """When a task was last seen to begin running, in seconds since the epoch; None if it never was."""
        events = [event for event in self._store.events(self.record.run_id) if (event.kind, event.name) == ("task", spec.name)]
        times = [event.time for event in events if event.state == TaskState.RUNNING and event.data.get("attempt") == spec.attempt]
        return max(times, default=None)

    def task(self, spec: TaskSpec, state: TaskState, *, reason: str | None = None, result: TaskResult | None = None) -> Event:
        """The state of a task. It starts with SUBMITTED and ends with a final state; PENDING begins it anew.

        Raises StoreError for a score without a passed result, and for any change to a task that is scored already.
        """
        if state is TaskState.SCORED and (result is None or result.outcome is not Outcome.PASSED):
            raise StoreError(f"task {spec.name} cannot be scored without a passed result")
        now = self._store.now()
        row = {
            "run_id": self.record.run_id,
            "idx": spec.index,
            "spec": self._packed(spec),
            "state": state.value,
            "attempt": spec.attempt,
            "reason": printable(reason),
            "result": dumps(result) if result is not None else None,
            "fresh": state is TaskState.PENDING,
            "started": now if state is TaskState.SUBMITTED else None,
            "ended": now if state.final else None,
        }
        data: dict[str, Any] = {"endpoint": spec.endpoint, "attempt": spec.attempt}
        if state is TaskState.SCORED and result is not None:
            data["metrics"] = [to_json(metric) for metric in result.metrics]
        return self._write("task", spec.name, state, reason, data, (_TASK, row))

    def run(
        self,
        state: RunState,
        *,
        outcome: RunOutcome | None = None,
        cleanliness: Cleanliness | None = None,
        exit_code: int | None = None,
        reason: str | None = None,
        until: float | None = None,
    ) -> Event:
        """The state of the run; outcome and cleanliness stay as they are if not given. exit_code: what the run's process ends with. until:
        how long endpoints are kept, in seconds since the epoch."""
        known, now = self.record, self._store.now()
        row = (state.value, outcome, cleanliness, exit_code, now, known.run_id)
        values = {"outcome": outcome, "cleanliness": cleanliness, "exit_code": exit_code, "until": until}
        data = {key: value for key, value in values.items() if value is not None}
        event = self._write("run", "", state, reason, data, (_RUN, row))
        outcome, cleanliness = outcome or known.outcome, cleanliness or known.cleanliness
        self.record = evolve(known, state=state, outcome=outcome, cleanliness=cleanliness, exit_code=exit_code, updated=now)
        return event

    def note(self, kind: str, name: str = "", *, reason: str | None = None, data: Json | None = None) -> Event:
        """Something that changes no state: `progress` of the endpoint or task of that name (data: phase, done, total, and as `subject`
        which of the two it is, where both have the name), or a `warning`."""
        data = dict(data or {})
        progress = self._progress(name, reason, data) if kind == "progress" else ()
        return self._write(kind, name, "", reason, data, *progress)

    def resources(self) -> list[ResourceRecord]:
        """As `Store.resources`."""
        return self._store.resources(self.record.run_id)

    def tasks(self) -> list[TaskRecord]:
        """As `Store.tasks`."""
        return self._store.tasks(self.record.run_id)

    def kept_until(self) -> float:
        """As `Store.kept_until`."""
        return self._store.kept_until(self.record.run_id)

    def worked(self) -> float:
        """Seconds that processes have driven the run so far, as its events tell: what lies between one process and the next is no work."""
        total, began, last = 0.0, None, 0.0
        for event in self._store.events(self.record.run_id):
            if event.kind == "run" and event.state in (RunState.ACTIVE, RunState.KEEPING, RunState.CLOSED):
                total += 0.0 if began is None else (last if event.state == RunState.ACTIVE else event.time) - began
                began = event.time if event.state == RunState.ACTIVE else None
            last = event.time
        return total if began is None else total + last - began

    def heartbeat(self) -> None:
        """Tell other machines that this process is alive; to be called well within `HEARTBEAT_LIMIT`."""
        with self._store.transaction() as db:
            self._hold(db)

    def close(self) -> None:
        """Give the run up, so that another process may go on with it. Repeatable, and does not raise if the database is unusable: the
        lease ends with this process at the latest."""
        self._log.close()
        failpoints.reach("lease.returned")
        with suppress(StoreError), self._store.transaction() as db:
            lease.release(db, self.record.run_id, self._fence)

    def _hold(self, db: sqlite3.Connection) -> None:
        lease.hold(db, self.record.run_id, self._fence, self._store.now())

    def _progress(self, name: str, reason: str | None, data: Mapping[str, Any]) -> list[Statement]:
        report = (data.get("phase"), data.get("done"), data.get("total"), printable(reason), self._store.now())
        return [(_PROGRESS, (*report, self.record.run_id, name, data.get("subject")))]

    def _write(self, kind: str, name: str, state: str, reason: str | None, data: Mapping[str, Any], *changes: Any) -> Event:
        event = Event(self.last_seq + 1, self._store.now(), self.record.run_id, kind, name, str(state), printable(reason), data)
        packed = dumps(dict(data))
        with self.batch():
            assert self._open is not None
            for sql, row in changes:
                if self._open.execute(sql, row).rowcount == 0 and kind != "progress":
                    raise _refused(kind, name)
            self._open.execute(_EVENT, (event.run_id, event.seq, event.time, kind, name, event.state, event.reason, packed))
            self.last_seq = event.seq
            self._unlogged.append(event)
        return event


def _refused(kind: str, name: str) -> StoreError:
    if kind == "task":
        return StoreError(f"task {name} is scored already, or not in the plan; its record stays as it is")
    return StoreError(f"{kind} {name} is known under another resource name; what exists under that one would be forgotten")
