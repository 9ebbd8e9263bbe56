"""How a stored run stands, whoever drives it: alive, interrupted or over, what may be left of it, and the exit code that follows."""

from __future__ import annotations

from evalx.errors import ExitCode
from evalx.store import ResourceRecord, RunRecord, Store
from evalx.store.states import Cleanliness, RunState


def is_alive(store: Store, record: RunRecord) -> bool:
    """Whether a process is working on the run now."""
    holder = store.holder(record.run_id)
    return record.state is not RunState.CLOSED and holder is not None and holder.alive


def left_alive(store: Store, record: RunRecord) -> list[ResourceRecord]:
    """What may exist at the backend and is ours."""
    resources = store.resources(record.run_id)
    return [
        resource
        for resource in resources
        if resource.state.may_exist and (resource.handle is None or getattr(resource.handle, "owned", True))
    ]


def condition(store: Store, record: RunRecord) -> str:
    """In a word: running, interrupted (nobody works on it, and it is not over), or its outcome."""
    if record.state is not RunState.CLOSED:
        return "running" if is_alive(store, record) else "interrupted"
    return record.outcome.value.replace("_", " ") if record.outcome else "closed"


def exit_code(store: Store, record: RunRecord) -> ExitCode:
    """What the run's exit code is or would be: 8 while it is running, 7 if something may be alive that nobody looks after."""
    if is_alive(store, record):
        return ExitCode.RUNNING
    if left_alive(store, record) or record.cleanliness is Cleanliness.DIRTY:
        return ExitCode.DIRTY
    return ExitCode(record.exit_code) if record.exit_code is not None else ExitCode.TASK_FAILED
