"""The rows of the store as values, and the way between rows and values."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from attrs import frozen

from evalx.errors import StoreError
from evalx.model import Event, Handle, RunPlan, Spec, TaskResult, TaskSpec
from evalx.redaction import redact, refer
from evalx.serial import from_json, handle_from_json, spec_from_json, to_json
from evalx.store.states import Cleanliness, ResourceState, RunOutcome, RunState, TaskState


@frozen
class RunRecord:
    """A run. created, updated: seconds since the epoch. exit_code: what its process ended with, once it is closed."""

    run_id: str
    directory: Path
    executor: str
    state: RunState
    outcome: RunOutcome | None
    cleanliness: Cleanliness
    created: float
    updated: float
    plan: RunPlan
    exit_code: int | None = None


@frozen
class ResourceRecord:
    """An endpoint or the job of a task, one record for each attempt.

    kind: `endpoint` or `task`. name: at the backend. handle: None until the create call was answered. phase, done, total: what was last
    reported of it, done and total in samples.
    """

    run_id: str
    kind: str
    index: int
    attempt: int
    name: str
    spec: Spec
    state: ResourceState
    reason: str | None
    handle: Handle | None
    created: float
    updated: float
    phase: str | None = None
    done: int | None = None
    total: int | None = None


@frozen
class TaskRecord:
    """A task in its newest attempt. started, ended: seconds since the epoch."""

    run_id: str
    index: int
    spec: TaskSpec
    state: TaskState
    attempt: int
    reason: str | None
    result: TaskResult | None
    started: float | None
    ended: float | None


def dumps(value: Any) -> str:
    """JSON text of a value of `evalx.model`. Raises StoreError if something in it is not JSON."""
    try:
        return json.dumps(to_json(value), separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"cannot be stored, because it is not JSON: {error}") from error


def printable(text: str | None) -> str | None:
    """Reasons may quote a process's output: bytes that are no text must not make them unstorable, and secrets stay out."""
    return None if text is None else redact(text.encode("utf-8", "backslashreplace").decode())


def kind_of(spec: Spec) -> str:
    return "task" if isinstance(spec, TaskSpec) else "endpoint"


def _plan(data: Any) -> RunPlan:
    refer(data)
    return from_json(RunPlan, data)


def run_record(row: sqlite3.Row) -> RunRecord:
    return RunRecord(
        run_id=row["run_id"],
        directory=Path(row["directory"]),
        executor=row["executor"],
        state=RunState(row["state"]),
        outcome=RunOutcome(row["outcome"]) if row["outcome"] else None,
        cleanliness=Cleanliness(row["cleanliness"]),
        created=row["created"],
        updated=row["updated"],
        plan=_plan(json.loads(row["plan"])),
        exit_code=row["exit_code"],
    )


def resource_record(row: sqlite3.Row) -> ResourceRecord:
    kind = row["kind"]
    return ResourceRecord(
        run_id=row["run_id"],
        kind=kind,
        index=row["idx"],
        attempt=row["attempt"],
        name=row["name"],
        spec=spec_from_json(kind, json.loads(row["spec"])),
        state=ResourceState(row["state"]),
        reason=row["reason"],
        handle=handle_from_json(kind, json.loads(row["handle"])) if row["handle"] else None,
        created=row["created"],
        updated=row["updated"],
        phase=row["phase"],
        done=row["done"],
        total=row["total"],
    )


def task_record(row: sqlite3.Row) -> TaskRecord:
    return TaskRecord(
        run_id=row["run_id"],
        index=row["idx"],
        spec=from_json(TaskSpec, json.loads(row["spec"])),
        state=TaskState(row["state"]),
        attempt=row["attempt"],
        reason=row["reason"],
        result=from_json(TaskResult, json.loads(row["result"])) if row["result"] else None,
        started=row["started"],
        ended=row["ended"],
    )


def event(row: sqlite3.Row) -> Event:
    return Event(
        seq=row["seq"],
        time=row["time"],
        run_id=row["run_id"],
        kind=row["kind"],
        name=row["name"],
        state=row["state"],
        reason=row["reason"],
        data=json.loads(row["data"]),
    )
