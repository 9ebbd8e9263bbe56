"""The summary of a run that this process does not drive, from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalx.cost import cost_of
from evalx.errors import ExitCode, RunInterrupted
from evalx.standing import exit_code, kept_of, uncared_for
from evalx.store import RunRecord, Store
from evalx.store.states import Cleanliness, RunOutcome, RunState

if TYPE_CHECKING:
    from evalx.runs import RunSummary


def stored_summary(store: Store, record: RunRecord) -> RunSummary:
    """How a run ended that no process works on, but perhaps the keeper of its endpoints. Raises RunInterrupted if it did not end."""
    from evalx.runs import RunSummary

    left, code = tuple(resource.name for resource in uncared_for(store, record)), exit_code(store, record)
    if not record.state.settled:
        error = RunInterrupted(f"run {record.run_id} was interrupted: no process works on it", f"evalx.resume('{record.run_id}')")
        error.exit_code = ExitCode.DIRTY if left else error.exit_code
        raise error
    tasks = store.tasks(record.run_id)
    reasons = [event.reason for event in store.events(record.run_id) if event.kind == "run" and event.state == RunState.CLOSED]
    return RunSummary(
        run_id=record.run_id,
        directory=record.directory,
        outcome=record.outcome or RunOutcome.FAILED,
        cleanliness=Cleanliness.DIRTY if left else record.cleanliness,
        tasks=len(tasks),
        results=tuple(task.result for task in tasks if task.result is not None),
        left=left,
        exit_code=code,
        reason=reasons[-1] if reasons and record.state is RunState.CLOSED else None,
        cost=cost_of(record.plan, store.resources(record.run_id), tasks),
        kept=kept_of(store, record),
    )
