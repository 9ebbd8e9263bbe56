"""How a run ended: told by the process that has driven it, or from the store."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from evalx.cost import Cost, cost_of
from evalx.errors import EvalxError, ExitCode, RunBusy, RunInterrupted
from evalx.keeping.kept import Kept
from evalx.model import Outcome, TaskResult
from evalx.standing import exit_code, kept_of, uncared_for
from evalx.store import Journal, RunRecord, Store
from evalx.store.states import Cleanliness, RunOutcome, RunState

if TYPE_CHECKING:
    from evalx.context import RunContext
    from evalx.driver import Driver
    from evalx.exporters.running import Exported


@frozen
class RunSummary:
    """How a run ended. tasks: how many it has. results: one per task that has one, by index. left: names of resources that may still be
    alive. abandoned: the user stopped waiting for the cleanup, and hook calls may still be under way in this process. exports: what came of
    the exports that the config asks for; a failed one changes nothing of the rest. kept: endpoints that stay up for a while, and go by
    themselves."""

    run_id: str
    directory: Path
    outcome: RunOutcome
    cleanliness: Cleanliness
    tasks: int
    results: tuple[TaskResult, ...]
    left: tuple[str, ...]
    exit_code: ExitCode
    reason: str | None = None
    hint: str | None = None
    abandoned: bool = False
    cost: Cost | None = None
    exports: tuple[Exported, ...] = ()
    kept: Kept | None = None


def summarise(run: RunContext, journal: Journal, driver: Driver, abandoned: bool) -> RunSummary:
    """How the run that this process has driven ended. abandoned: see `RunSummary`."""
    results = tuple(result for _, result in sorted(driver.ledger.results.items()))
    scored = [result for result in results if result.outcome is Outcome.PASSED]
    if len(scored) == len(run.plan.tasks):
        outcome = RunOutcome.SUCCEEDED
    elif driver.stop_code is ExitCode.DEADLINE:
        outcome = RunOutcome.TIMED_OUT
    elif run.stopping.is_set() and driver.fatal is None and not driver.failed_fast:
        outcome = RunOutcome.CANCELLED
    else:
        outcome = RunOutcome.PARTIAL if scored else RunOutcome.FAILED
    return RunSummary(
        run_id=run.run_id,
        directory=run.directory,
        outcome=outcome,
        cleanliness=Cleanliness.DIRTY if driver.left else Cleanliness.CLEAN,
        tasks=len(run.plan.tasks),
        results=results,
        left=driver.left,
        exit_code=_exit_code(driver, outcome),
        reason=str(driver.fatal) if driver.fatal else driver.stop_reason,
        hint=driver.fatal.hint if driver.fatal else None,
        abandoned=abandoned,
        cost=_cost(run, journal),
    )


def _exit_code(driver: Driver, outcome: RunOutcome) -> ExitCode:
    """The most important truth wins: something may be alive, then what stopped the run, then what failed."""
    if driver.left and not isinstance(driver.fatal, RunBusy):
        return ExitCode.DIRTY
    if driver.fatal is not None:
        return driver.fatal.exit_code
    if driver.stop_code is not None:
        return driver.stop_code
    if outcome is RunOutcome.SUCCEEDED:
        return ExitCode.OK
    if driver.auth_failed:
        return ExitCode.AUTH
    if driver.dead and not driver.endpoints_ready:
        return ExitCode.NO_ENDPOINT
    return ExitCode.TASK_FAILED


def _cost(run: RunContext, journal: Journal) -> Cost | None:
    """None if the store does not tell."""
    with suppress(EvalxError):
        return cost_of(run.plan, journal.resources(), journal.tasks())
    return None


def stored_summary(store: Store, record: RunRecord) -> RunSummary:
    """How a run ended that no process works on, but perhaps the keeper of its endpoints. Raises RunInterrupted if it did not end."""
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
