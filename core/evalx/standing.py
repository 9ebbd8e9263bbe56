"""How a stored run stands, whoever drives it: alive, interrupted or over, what may be left of it, and the exit code that follows.

A run that keeps endpoints is over: its outcome stands. A process still owns it, which is its keeper.
"""

from __future__ import annotations

from evalx.errors import ExitCode
from evalx.keeping.kept import Kept, kept_endpoints
from evalx.reasons import whole
from evalx.store import ResourceRecord, RunRecord, Store
from evalx.store.states import Cleanliness, RunState


def is_alive(store: Store, record: RunRecord) -> bool:
    """Whether a process owns the run now: it works on it, or looks after what it keeps."""
    holder = store.holder(record.run_id)
    return record.state is not RunState.CLOSED and holder is not None and holder.alive


def is_working(store: Store, record: RunRecord) -> bool:
    """Whether a process is working on the run now, so that more may come of it."""
    return record.state is not RunState.KEEPING and is_alive(store, record)


def left_alive(store: Store, record: RunRecord) -> list[ResourceRecord]:
    """What may exist at the backend and is ours."""
    resources = store.resources(record.run_id)
    return [
        resource
        for resource in resources
        if resource.state.may_exist and (resource.handle is None or getattr(resource.handle, "owned", True))
    ]


def names_left(store: Store, record: RunRecord) -> list[str]:
    """What may exist at the backend and is ours, in words: the names, or that it is what belongs to the run as a whole (`only_whole`)."""
    return [resource.name for resource in left_alive(store, record)] or [whole(record.run_id)] * only_whole(store, record)


def only_whole(store: Store, record: RunRecord) -> bool:
    """Whether all endpoints and tasks of a run are gone, and what belongs to it as a whole, such as its secrets, could not be deleted."""
    return record.state is RunState.CLOSED and record.cleanliness is Cleanliness.DIRTY and not left_alive(store, record)


def uncared_for(store: Store, record: RunRecord) -> list[ResourceRecord]:
    """What may exist at the backend, is ours, and is not in the care of a process."""
    kept = {endpoint.resource for endpoint in found.endpoints} if (found := kept_of(store, record)) and found.keeper else set()
    return [] if is_working(store, record) else [resource for resource in left_alive(store, record) if resource.name not in kept]


def kept_of(store: Store, record: RunRecord) -> Kept | None:
    """What a run keeps though its tasks are over; None if it keeps nothing."""
    if record.state is not RunState.KEEPING:
        return None
    holder = store.holder(record.run_id)
    keeper = holder.pid if holder is not None and holder.alive else None
    return Kept(store.kept_until(record.run_id), kept_endpoints(record.plan, store.resources(record.run_id)), keeper)


def condition(store: Store, record: RunRecord) -> str:
    """In a word: running, interrupted (nobody works on it, and it is not over), or its outcome."""
    if not record.state.settled:
        return "running" if is_alive(store, record) else "interrupted"
    return record.outcome.value.replace("_", " ") if record.outcome else "closed"


def exit_code(store: Store, record: RunRecord) -> ExitCode:
    """What the run's exit code is or would be: 8 while it is running, 7 if something may be alive that nobody looks after."""
    if is_working(store, record):
        return ExitCode.RUNNING
    if uncared_for(store, record) or record.cleanliness is Cleanliness.DIRTY:
        return ExitCode.DIRTY
    return ExitCode(record.exit_code) if record.exit_code is not None else ExitCode.TASK_FAILED
