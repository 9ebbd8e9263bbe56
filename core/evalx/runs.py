"""Start a run, go on with it, end it: the engine of the command line and of the Python API, in the thread that calls it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import evolve

from evalx import catalog, failpoints
from evalx.config import Config
from evalx.config.structure import structure
from evalx.context import RunContext
from evalx.control import Control
from evalx.cost import Meter, check_prices, cost_of, money, with_billing
from evalx.driver import Driver, Watch
from evalx.errors import AuthError, ConfigError, ConfigErrors, DeadlineExceeded, EvalxError, ExitCode, RunBusy, internal
from evalx.exporters.account import account_of
from evalx.exporters.running import Exported, export_planned
from evalx.interrupts import SIGNALS, Ending, Interrupts, Terminal
from evalx.keeping.handover import as_it_stood, dismissed_keeper, handed_over, keeping, kept_with_all_scores, opened, vigil
from evalx.keeping.keeper import NobodyKeeps
from evalx.logtimes import LogWatch
from evalx.manager import RunManager
from evalx.manifest import write_manifest
from evalx.model import Event, Finding, RunPlan
from evalx.plan import make_plan
from evalx.redaction import refer
from evalx.serial import to_json
from evalx.standing import left_alive
from evalx.store import Holder, Journal, RunRecord, Store
from evalx.store.states import Cleanliness, RunState
from evalx.summaries import RunSummary, stored_summary, summarise

CANCEL_PATIENCE = 600.0
"""Seconds in which a process that was asked to end its run must have done so."""

PATIENCE_SAID = 10.0
"""Seconds after which the user is told what is being waited for."""


@contextmanager
def _signals_put_back() -> Iterator[None]:
    """A program that uses evalx gets its own handling of signals back."""
    before = _handling_of_signals()
    try:
        yield
    finally:
        _put_back(before)


def _handling_of_signals() -> Mapping[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in SIGNALS}


def _put_back(before: Mapping[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handling in before.items():
            signal.signal(number, handling if handling is not None else signal.SIG_DFL)


class Detached(Exception):
    """The user wants the run to go on without this process, which has let go of it as it is: `resume` in another one goes on."""

    def __init__(self, run_id: str, directory: Path) -> None:
        super().__init__(f"run {run_id} is to go on in another process")
        self.run_id = run_id
        self.directory = directory


@_signals_put_back()
def start(
    config: Config,
    *,
    observers: Sequence[object] = (),
    trust_commands: bool = False,
    fail_fast: bool = False,
    terminal: Terminal | None = None,
    control: Control | None = None,
) -> RunSummary:
    """Run what the config describes, to the end. control: how another thread may end it.

    terminal: where the user is asked what an interrupt shall do; without one it stops the run. Raises Detached if the answer is that.

    Raises ConfigErrors or AuthError if preflight finds something wrong, StoreError if the state cannot be written; in each case nothing
    has been created.
    """
    plan = make_plan(config)
    _check_start(plan)
    run = context_of(plan, _run_directory(config, plan), observers, trust_commands, settings=config.execution)
    hooks = run.plugins.hooks(run)
    hooks.setup()
    refuse(hooks.preflight())
    run.plan = plan = evolve(with_billing(plan, hooks), backend=hooks.backend_id())
    check_prices(plan)
    with Store() as store, store.create(plan, run.directory, config.text) as journal:
        failpoints.reach("run.created")
        write_manifest(run, config.text)
        return _drive(run, journal, fail_fast=fail_fast, terminal=terminal, control=control)


@_signals_put_back()
def resume(
    run_id: str,
    *,
    observers: Sequence[object] = (),
    trust_commands: bool = False,
    fail_fast: bool = False,
    max_duration: float | None = None,
    max_cost: float | None = None,
    terminal: Terminal | None = None,
    control: Control | None = None,
) -> RunSummary:
    """Go on with a run whose process is gone: adopt what is alive, run what has no score, clean up. terminal, control: as for `start`.

    A run that keeps endpoints is taken over from their keeper, and they are kept anew afterwards. If it has all its scores, it stays so.

    max_duration, max_cost: other limits than the run was started with; like those, they hold for the run from its beginning. Raises
    RunBusy if a live process owns it, RunNotFound, DeadlineExceeded if it has used up a limit.
    """
    standing = kept_with_all_scores(run_id)
    if standing is not None:
        if control is not None:
            control.begun.set_result((standing.run_id, standing.directory))
        return standing
    with dismissed_keeper(run_id), reopened(run_id, observers, trust_commands) as (run, journal):
        _check_budget(run, journal, max_duration, max_cost)
        refuse(run.plugins.hooks(run).preflight())
        return _drive(run, journal, fail_fast=fail_fast, terminal=terminal, control=control)


def _check_budget(run: RunContext, journal: Journal, max_duration: float | None, max_cost: float | None) -> None:
    """Set the limits that were given. Raises DeadlineExceeded if the run has used up one of them, ConfigError if one cannot be kept."""
    known, run_id = run.plan.limits, run.run_id
    limits = evolve(
        known,
        max_duration=known.max_duration if max_duration is None else max_duration,
        max_cost=known.max_cost if max_cost is None else max_cost,
    )
    run.plan = evolve(run.plan, limits=limits)
    check_prices(run.plan)
    if limits.max_duration is not None and journal.worked() >= limits.max_duration:
        hint = f"evalx resume {run_id} --max-duration TIME, counted from its beginning, gives it more"
        raise DeadlineExceeded(f"run {run_id} has had its max_duration of {limits.max_duration:g} s", hint)
    spent = cost_of(run.plan, journal.resources(), journal.tasks())
    if limits.max_cost is not None and spent.amount is not None and spent.amount >= limits.max_cost:
        hint = f"evalx resume {run_id} --max-cost AMOUNT, counted from its beginning, gives it more"
        raise DeadlineExceeded(f"run {run_id} has cost its max_cost of {money(limits.max_cost, spent.currency)}", hint)


@contextmanager
def _telling_what_is_left(store: Store, run_id: str) -> Iterator[None]:
    """Whatever keeps a run from being gone on with: what the run has left alive is worse."""
    try:
        yield
    except (RunBusy, Detached):
        raise
    except Exception as error:
        left = [record.name for record in store.resources(run_id) if record.state.may_exist]
        if not left:
            raise
        told = error if isinstance(error, EvalxError) else internal(error)
        told.exit_code = ExitCode.DIRTY
        told.add_note(f"of this run may be alive: {', '.join(left)}; evalx cleanup {run_id} deletes it")
        raise told from (error.__cause__ if told is error else error)


@_signals_put_back()
def cleanup(
    run_id: str,
    *,
    observers: Sequence[object] = (),
    reason: str = "cleaned up before it was finished",
    terminal: Terminal | None = None,
) -> RunSummary:
    """End a run whose process is gone: keep every result that is there, delete everything else. Repeatable. terminal: if it is closed
    meanwhile, this goes on. Endpoints that are kept are deleted by their keeper, if that is on this machine. A run that is over, with
    everything proven gone, stays as it is.

    Raises RunBusy if a live process owns it, RunNotFound.
    """
    with Store() as store:
        record = store.find(run_id)
        if record.state is RunState.CLOSED and record.cleanliness is Cleanliness.CLEAN and not left_alive(store, record):
            return stored_summary(store, record)
        if record.state is RunState.KEEPING and (holder := store.holder(record.run_id)) is not None and holder.alive and holder.local:
            _end_holders(store, record.run_id, signal.SIGTERM, lambda _text: None)
    with reopened(run_id, observers) as (run, journal):
        return _drive(run, journal, ending=reason, terminal=terminal)


@_signals_put_back()
def keep(run_id: str, heir_of: int | None = None, *, observers: Sequence[object] = ()) -> RunSummary | None:
    """Look after the endpoints that a run keeps until their time is over, it has cost its max_cost, or a signal says that they are not
    wanted any more; then delete them. None if there is nothing to look after. heir_of: the fence of a process that hands the run over.

    Raises RunBusy if another process does.
    """
    with reopened(run_id, observers, heir_of=heir_of) as (run, journal):
        if journal.record.state is not RunState.KEEPING:
            return None
        with LogWatch(run.directory):
            reason = asyncio.run(vigil(journal, _cost_watch(run, journal)))
        return _drive(run, journal, ending=reason)


def cancel(
    run_id: str,
    *,
    now: bool = False,
    observers: Sequence[object] = (),
    tell: Callable[[str], None] = lambda _text: None,
    terminal: Terminal | None = None,
) -> RunSummary:
    """End a run wherever its process is on this machine: ask the process to (`now`: kill it), or clean up in its place.

    A process that is stopped (SIGSTOP, Ctrl-Z) is continued, since it could not end its run otherwise. tell: called with what the user
    should know while it takes time. terminal: as for `cleanup`.

    Raises RunBusy if it is owned by a process on another machine or the process does not end, RunNotFound.
    """
    with Store() as store:
        run_id = store.find(run_id).run_id
        holder = store.holder(run_id)
        if holder is not None and holder.alive:
            if not holder.local:
                raise RunBusy(f"run {run_id} is owned by process {holder.pid} on {holder.host}", f"there: evalx cancel {run_id}")
            _end_holders(store, run_id, signal.SIGKILL if now else signal.SIGTERM, tell)
    return cleanup(run_id, observers=observers, reason="cancelled", terminal=terminal)


def context_of(
    plan: RunPlan, directory: Path, observers: Sequence[object] = (), trust_commands: bool = False, settings: Any = None
) -> RunContext:
    """The run as its hooks see it, with its executor and further plugins loaded; settings default to those stored in the plan.

    Raises PluginError.
    """
    refer(to_json(plan))
    executor_class = catalog.load("evalx.executors", plan.executor)
    settings = settings if settings is not None else structure(executor_class.Settings, dict(plan.execution))
    named = [(name, catalog.load("evalx.plugins", name)()) for name in plan.plugins]
    named += [(f"observer-{index}", observer) for index, observer in enumerate(observers)]
    manager = RunManager(executor_class(), plan.executor, named)
    trusted = trust_commands or os.environ.get("EVALX_TRUST_PRE_CMD") == "1"
    return RunContext(plan, settings, directory, manager, trust_commands=trusted)


def _check_start(plan: RunPlan) -> None:
    limit = plan.limits.max_endpoints
    if plan.limits.keep is not None and limit is not None and limit < len(plan.endpoints):
        message = f"{len(plan.endpoints)} endpoints are to be kept, but only {limit} may exist at once"
        raise ConfigError(message, "raise execution.max_endpoints, or set execution.endpoints: shared")
    if plan.start == "all_ready" and limit is not None and limit < len(plan.endpoints):
        message = f"execution.start is all_ready, but only {limit} of {len(plan.endpoints)} endpoints may exist at once"
        raise ConfigError(message, "raise execution.max_endpoints, or set execution.start: pipelined")


def refuse(findings: Sequence[Finding]) -> None:
    """Raise ConfigErrors, or AuthError, if there is an `error` among the findings."""
    errors = [finding for finding in findings if finding.level == "error"]
    refused = [finding for finding in errors if finding.kind == "auth"]
    if refused:
        raise AuthError("\n".join(finding.message for finding in refused), refused[0].hint)
    if errors:
        raise ConfigErrors([ConfigError(finding.message, finding.hint) for finding in errors])


def _run_directory(config: Config, plan: RunPlan) -> Path:
    return Path(config.execution.output_dir).expanduser().absolute() / plan.run_id


@contextmanager
def reopened(
    run_id: str, observers: Sequence[object] = (), trust_commands: bool = False, heir_of: int | None = None
) -> Iterator[tuple[RunContext, Journal]]:
    """A stored run, owned by this process for the block, with its executor set up. heir_of: the fence of an owner that hands it over.

    Raises RunBusy, RunNotFound, PluginError, and AuthError where something of it may be that this process would not look for.
    """
    with Store() as store:
        record = store.find(run_id)
        with _telling_what_is_left(store, record.run_id), store.open(record.run_id, heir_of) as journal:
            run = context_of(record.plan, record.directory, observers, trust_commands)
            run.plugins.hooks(run).setup()
            if record.state is not RunState.CLOSED or record.cleanliness is not Cleanliness.CLEAN:
                check_backend(run)
            yield run, journal


def check_backend(run: RunContext) -> None:
    """Whoever looks for a run's resources at another backend takes them for gone. Raises AuthError if this process would."""
    known = run.plan.backend
    if known is None:
        return
    found = run.plugins.hooks(run).backend_id()
    if known != found:
        message = f"run {run.run_id} is in {known}, and these credentials are for {found}"
        raise AuthError(message, "log in there, and give the command again")


def _end_holders(store: Store, run_id: str, number: signal.Signals, tell: Callable[[str], None]) -> None:
    """Send the process that owns a run the signal, and wait until none does; another one to which it passes meanwhile gets it as well."""
    began, told = time.monotonic(), False
    asked: set[int] = set()
    while (holder := store.holder(run_id)) is not None and holder.alive:
        if holder.pid not in asked:
            asked.add(holder.pid)
            _ask_to_end(holder, number, tell)
        waited = time.monotonic() - began
        if waited > CANCEL_PATIENCE:
            raise RunBusy(f"run {run_id}: process {holder.pid} has not ended", f"evalx cancel --now {run_id}")
        if waited > PATIENCE_SAID and not told:
            tell(f"waiting for process {holder.pid} to end the run; in another shell, evalx cancel --now {run_id} does not wait")
            told = True
        time.sleep(0.1)


def _ask_to_end(holder: Holder, number: signal.Signals, tell: Callable[[str], None]) -> None:
    with suppress(ProcessLookupError):
        os.kill(holder.pid, number)
        if holder.stopped and number is not signal.SIGKILL:
            os.kill(holder.pid, signal.SIGCONT)
            tell(f"process {holder.pid} was stopped (by SIGSTOP or Ctrl-Z); it is continued, to end its run")


def _drive(
    run: RunContext,
    journal: Journal,
    *,
    fail_fast: bool = False,
    ending: str | None = None,
    terminal: Terminal | None = None,
    control: Control | None = None,
) -> RunSummary:
    """Drive the run to its end, and export and tell what came of it. ending: only end it, for this reason. Raises Detached."""
    if control is not None:
        control.begun.set_result((run.run_id, run.directory))
    handling = _handling_of_signals()
    summary, driver = _end_of(run, journal, fail_fast=fail_fast, ending=ending, terminal=terminal, control=control)
    if driver.kept:
        try:
            summary = evolve(summary, kept=handed_over(journal))
        except NobodyKeeps as error:  # what nobody would delete in time is not kept
            summary, driver = _end_of(run, journal, ending=str(error), terminal=terminal, control=control)
    if ending is None and driver.stop_code not in SIGNALS.values() and driver.fatal is None:
        _put_back(handling)  # all of the run is written down, and an exporter may take its time
        summary = evolve(summary, exports=_export(run, journal, summary))
    run.plugins.hooks(run, on_warning=lambda message: _warn(journal, message)).finish(summary.results)
    return summary


def _end_of(
    run: RunContext,
    journal: Journal,
    *,
    fail_fast: bool = False,
    ending: str | None = None,
    terminal: Terminal | None = None,
    control: Control | None = None,
) -> tuple[RunSummary, Driver]:
    """How the run ended, or how its tasks did if endpoints are kept; written down."""
    settle = getattr(run.plugins.executor, "settle", 0.0)
    hooks = run.plugins.hooks(run, on_warning=lambda message: _warn(journal, message))
    driver = Driver(
        run, journal, hooks, settle=settle, fail_fast=fail_fast, ending=ending, worked=journal.worked(), watch=_cost_watch(run, journal)
    )
    before = journal.record
    hooks.on_event(opened(journal, ending))
    with LogWatch(run.directory):
        ended = asyncio.run(Interrupts(driver, terminal, control).execute())
    if ended is Ending.DETACHED:
        raise Detached(run.run_id, run.directory)
    abandoned = ended is Ending.ABANDONED
    if abandoned:
        driver.kept = []
    summary = summarise(run, journal, driver, abandoned)
    if ending is not None and before.state is RunState.KEEPING:
        summary = as_it_stood(summary, before)
    try:
        if driver.kept:
            hooks.on_event(keeping(journal, summary))
        else:
            hooks.on_event(_closed(journal, summary, before if ending is not None else None))
        failpoints.reach("run.closed")
        write_manifest(run, None, summary.results)
    except EvalxError as error:
        driver.fatal, driver.kept = driver.fatal or error, []
        summary = summarise(run, journal, driver, abandoned)
    return summary, driver


def _export(run: RunContext, journal: Journal, summary: RunSummary) -> tuple[Exported, ...]:
    """Carry the results where the config wants them. A failure is told and kept with the run's events, and changes nothing else."""
    if not run.plan.exports:
        return ()
    account = account_of(run.plan, run.directory, summary.results, summary.outcome.value.replace("_", " "))
    done = tuple(export_planned(spec, account) for spec in run.plan.exports)
    for one in done:
        if one.error:
            _warn(journal, one.error)
    return done


def _closed(journal: Journal, summary: RunSummary, before: RunRecord | None) -> Event:
    """before: the run that was only to be ended; if it was over already, what it ended with stays."""
    outcome, code = summary.outcome, int(summary.exit_code)
    if before is not None and before.state is RunState.CLOSED and summary.cleanliness is Cleanliness.CLEAN:
        stays = before.exit_code not in (None, int(ExitCode.DIRTY))
        outcome, code = (before.outcome or outcome, before.exit_code or 0) if stays else (outcome, code)
    return journal.run(RunState.CLOSED, outcome=outcome, cleanliness=summary.cleanliness, exit_code=code, reason=summary.reason)


def _warn(journal: Journal, message: str) -> None:
    """Keep a warning with the run; the observers are not told, since it is about one of them."""
    with suppress(EvalxError):
        journal.note("warning", reason=message)


def _cost_watch(run: RunContext, journal: Journal) -> Watch | None:
    """What ends the run at its max_cost, if it has one."""
    limit = run.plan.limits.max_cost
    if limit is None:
        return None
    resources, tasks = journal.resources(), journal.tasks()
    spent = cost_of(run.plan, resources, tasks)
    meter = Meter(run.plan, spent.amount or 0.0, [record for record in resources if record.state.may_exist])
    run.plugins.register(meter, f"meter-{id(meter)}")  # a run may be driven, and then ended, by one process
    return lambda stop: meter.watch(limit, stop, spent.currency)
