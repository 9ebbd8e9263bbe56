"""Runs whose tasks are over and whose endpoints are kept: what is written down of them, and how they pass from process to process.

The process of the run hands it over to a keeper (see `evalx.keeping.keeper`), which waits (`vigil`) and then ends it as any run is ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from attrs import evolve

from evalx.driver import HEARTBEAT, Watch
from evalx.errors import EvalxError, ExitCode, StoreError
from evalx.keeping import keeper
from evalx.keeping.kept import Kept, clock, kept_endpoints
from evalx.model import Event
from evalx.store import Journal, RunRecord, Store
from evalx.store.states import RunState, TaskState
from evalx.summaries import RunSummary, stored_summary


def opened(journal: Journal, ending: str | None) -> Event:
    """The beginning of the work. A run that keeps endpoints, and is ended, has its outcome already, and goes on to have it."""
    if ending is None:
        return journal.run(RunState.ACTIVE)
    if journal.record.state is not RunState.KEEPING:
        return journal.run(RunState.CANCELLING, reason=ending)
    return journal.run(RunState.KEEPING, exit_code=journal.record.exit_code, reason=ending, until=time.time())


def as_it_stood(summary: RunSummary, before: RunRecord) -> RunSummary:
    """The summary of a run whose outcome stood before its endpoints were deleted."""
    known = before.exit_code not in (None, int(ExitCode.DIRTY)) and not summary.left
    return evolve(
        summary, outcome=before.outcome or summary.outcome, exit_code=ExitCode(before.exit_code or 0) if known else summary.exit_code
    )


async def vigil(journal: Journal, watch: Watch | None) -> str:
    """Wait while endpoints are kept; returns why they no longer are. watch: may end it. Raises RunBusy if the run was taken over."""
    loop, until = asyncio.get_running_loop(), journal.kept_until()
    ended: asyncio.Future[str] = loop.create_future()

    def end(reason: str, _code: ExitCode | None = None) -> None:
        if not ended.done():
            ended.set_result(reason)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, f"ended by {number.name}")
    spending = asyncio.create_task(watch(end)) if watch is not None else None
    # The time of day may be set back, which must not make it longer.
    deadline = loop.time() + min(until - time.time(), journal.plan.limits.keep or 0.0)
    while not ended.done() and (left := min(until - time.time(), deadline - loop.time())) > 0:
        await asyncio.wait({ended}, timeout=min(left, HEARTBEAT))
        with suppress(StoreError):
            journal.heartbeat()
    if spending is not None:
        spending.cancel()
    return ended.result() if ended.done() else f"its endpoints were kept until {clock(until)}"


def keeping(journal: Journal, summary: RunSummary) -> Event:
    """The tasks are over, and endpoints are kept: write down how they ended, and until when."""
    until = time.time() + (journal.plan.limits.keep or 0.0)
    return journal.run(
        RunState.KEEPING,
        outcome=summary.outcome,
        cleanliness=summary.cleanliness,
        exit_code=int(summary.exit_code),
        reason=summary.reason or f"endpoints are kept until {clock(until)}",
        until=until,
    )


def handed_over(journal: Journal) -> Kept:
    """Let a keeper take over what is kept; this process does not own the run any more then. Raises NobodyKeeps, and still does."""
    endpoints, directory = kept_endpoints(journal.plan, journal.resources()), journal.directory
    return Kept(journal.kept_until(), endpoints, keeper.start(journal.record.run_id, directory, journal.fence))


def kept_with_all_scores(run_id: str) -> RunSummary | None:
    """The summary of a run that keeps endpoints and has nothing else to do; None for any other. It has a keeper then."""
    with Store() as store:
        record = store.find(run_id)
        scored = all(task.state is TaskState.SCORED for task in store.tasks(record.run_id))
        if record.state is not RunState.KEEPING or not scored:
            return None
        holder = store.holder(record.run_id)
        if holder is None or not holder.alive:
            keeper.start(record.run_id, record.directory)
        return stored_summary(store, store.find(record.run_id))


@contextmanager
def dismissed_keeper(run_id: str) -> Iterator[None]:
    """Take a run from the keeper of its endpoints, which deletes nothing then; if it cannot be gone on with, there is a keeper again."""
    with Store() as store:
        record = store.find(run_id)
        holder = store.holder(record.run_id)
        due = store.kept_until(record.run_id) <= time.time()
    keeping = record.state is RunState.KEEPING
    if keeping and not due and holder is not None and holder.alive and holder.local:
        with suppress(ProcessLookupError):  # it may have come to its end by itself
            os.kill(holder.pid, signal.SIGKILL)  # which it must be able to bear at any time: all it knows is in the store
    try:
        yield
    except (EvalxError, KeyboardInterrupt):
        if keeping:
            keeper.replace_missing(lambda _text: None, record.run_id)
        raise
