"""Runs from Python: `evalx.run(...)` starts one in the background, and the `Run` that it returns waits for it, ends it, and reads it.

The engine is that of the command line (`evalx.runs`); it works in a thread of its own, so a program may have signal handlers, threads and
an event loop of its own (a notebook has), and several runs side by side. A run that is still going on when the program ends is ended
with it, in order: see `run`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import frozen

from evalx import background, runs
from evalx.background import Work
from evalx.config import Config, load
from evalx.display.model import Board
from evalx.errors import ConfigError, ExitCode
from evalx.keeping.kept import Kept
from evalx.logfiles import past_lines, wanted
from evalx.model import Event, TaskResult
from evalx.standing import condition, exit_code, is_working, kept_of, left_alive
from evalx.store import RunRecord, Store
from evalx.store.states import RunState, TaskState
from evalx.summaries import RunSummary, stored_summary

LOOK = 0.5
"""Seconds between looks at a run that another process drives."""


@frozen
class TaskStatus:
    """How a task is doing. phase: in a word, as the live table shows it. reason: why, where there is more to say. done, total: samples,
    None where the harness does not tell."""

    name: str
    state: TaskState
    phase: str
    reason: str
    done: int | None
    total: int | None


@frozen
class RunStatus:
    """Where a run stands. condition: `running`, `interrupted` (not over, and no process works on it) or its outcome, such as `succeeded`.
    may_be_alive: names of what may exist at the backend. exit_code: what the command line would end with; 8 while it is running. kept: the
    endpoints that are kept now that its tasks are over."""

    run_id: str
    condition: str
    tasks: tuple[TaskStatus, ...]
    may_be_alive: tuple[str, ...]
    exit_code: ExitCode
    kept: Kept | None = None

    @property
    def running(self) -> bool:
        return self.condition == "running"


class Run:
    """A run: one that this process has started, or any other of this machine. Made by `run`, `resume`, `open_run` and `list_runs`.

    Safe to use from several threads. As a context manager, the end of the block waits for a run that this process drives, and an
    exception in the block cancels it.
    """

    def __init__(self, run_id: str, directory: Path, work: Work | None = None) -> None:
        self.id = run_id
        self.directory = directory
        self._work = work

    def __repr__(self) -> str:
        return f"<evalx run {self.id}>"

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._work is not None and not self._work.over:
            if error is None:
                self.wait()
            else:
                self.cancel()

    def wait(self, timeout: float | None = None) -> RunSummary:
        """The run's summary, once it is over and everything it had created is deleted, but for endpoints that it was to keep (`kept`).
        timeout: seconds; None waits as long as it takes.

        A task or a whole run that fails is no exception: see `RunSummary.exit_code` and each result's `outcome`. Raises TimeoutError (the
        run goes on), and RunInterrupted if the process that drove the run is gone.

        Ctrl-C (KeyboardInterrupt) ends a run that this process drives as it does on the command line: it is raised when everything is
        deleted. A second one is raised at once, while the deleting goes on. A run of another process goes on.
        """
        if self._work is not None:
            return self._work.wait(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        with Store() as store:
            while is_working(store, record := store.find(self.id)):
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(f"run {self.id} is still running after {timeout:g} s")
                time.sleep(LOOK)
            return stored_summary(store, record)

    def cancel(self, *, now: bool = False) -> RunSummary:
        """End the run, delete everything it has created, kept endpoints too, and say how it ended. Results that are there are kept;
        repeatable.

        now: do not wait for what its tasks may still have to say, and kill the process if it is another one. Raises RunBusy if the run is
        driven on another machine.
        """
        if self._work is not None and not self._work.over:
            summary = self._work.cancel(now=now)
            if summary.kept is None:  # else it had its scores before it could be told
                return summary
        with Store() as store:
            record = store.find(self.id)
            if record.state is RunState.CLOSED and not left_alive(store, record):
                return stored_summary(store, record)
        return runs.cancel(self.id, now=now)

    def status(self) -> RunStatus:
        """Where the run stands now."""
        with Store() as store:
            record = store.find(self.id)
            board, events = Board(record.plan), store.events(self.id)
            for event in events:
                board.apply(event)
            return RunStatus(
                run_id=self.id,
                condition=condition(store, record),
                tasks=tuple(_task_status(board, task.spec.name, task.state) for task in store.tasks(self.id)),
                may_be_alive=tuple(resource.name for resource in left_alive(store, record)),
                exit_code=exit_code(store, record),
                kept=kept_of(store, record),
            )

    def results(self) -> tuple[TaskResult, ...]:
        """The results so far, in the order of the tasks."""
        with Store() as store:
            return tuple(task.result for task in store.tasks(self.id) if task.result is not None)

    def events(self, after: int = 0) -> list[Event]:
        """What has happened, in order. after: only events with a greater `seq`."""
        with Store() as store:
            return store.events(self.id, after)

    def logs(self, task: str, *, endpoint: bool = False, tail: int | None = None, since: float | None = None) -> list[str]:
        """Lines that a task has written so far, without terminal escapes. task: its name, or an endpoint's.

        endpoint: of the task's endpoint instead. tail: only the last so many. since: seconds since the epoch, from when on; where the times
        of lines are known less exactly, somewhat more. Raises ConfigError if there is no such task, or nothing is known of times.
        """
        with Store() as store:
            record = store.find(self.id)
            (spec,) = wanted(record, task, endpoint)
            return past_lines(store, record, spec, tail, since)


def run(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    executor: str | None = None,
    tasks: Sequence[str] = (),
    config_dir: str | Path | None = None,
    observers: Sequence[object] = (),
    display: str = "none",
    trust_commands: bool = False,
    fail_fast: bool = False,
    max_duration: float | None = None,
    max_cost: float | None = None,
    keep_endpoints: float | None = None,
) -> Run:
    """Start a run in the background, and return as soon as it is stored and checked; nothing has been created by then.

    config: a file, the name of a config, a mapping with what a file would hold, or a Config that `evalx.config.load` returned, to which
    the next four and the limits are given there. overrides: `key=value`, as on the command line. executor: wins over what the config
    says. tasks: only these of the config's tasks. config_dir: a folder with config groups of your own. observers: objects with the hooks
    `on_event` and `finish`, called from the run's thread. display: how to show progress on stderr: `none`, `plain`, `live`, or `auto` for
    what fits. trust_commands: `pre_cmd` and `post_cmd` of the config may run. fail_fast: the first task without a score ends the run.
    max_duration, max_cost: seconds, and an amount in the currency of `execution.prices`, that end the run. keep_endpoints: seconds for
    which the run's endpoints stay up when its tasks are over; another process then deletes them, also if this program has ended by then.

    Raises ConfigErrors, PluginError, AuthError or StoreError if the run cannot begin.

    If the program ends first (its last line, an exception, `sys.exit`, or SIGTERM or SIGHUP while it is in `wait`), the run is ended with
    it: what is finished is kept, everything else is deleted, and the process ends after that. If the program is killed, `evalx resume RUN`
    goes on and `evalx cleanup RUN` deletes, as after a killed `evalx run`.
    """
    limits = [f"++execution.max_duration={max_duration!r}"] * (max_duration is not None)
    limits += [f"++execution.max_cost={max_cost!r}"] * (max_cost is not None)
    limits += [f"++execution.keep_endpoints={keep_endpoints!r}"] * (keep_endpoints is not None)
    chosen = _chosen(config, [*overrides, *limits], executor, tasks, config_dir)
    engine = partial(runs.start, chosen, trust_commands=trust_commands, fail_fast=fail_fast)
    return _begun(Work(engine, observers, display))


def resume(
    run_id: str = "last",
    *,
    observers: Sequence[object] = (),
    display: str = "none",
    trust_commands: bool = False,
    fail_fast: bool = False,
    max_duration: float | None = None,
    max_cost: float | None = None,
) -> Run:
    """Go on with a run that was interrupted or has tasks without a score; scored tasks are kept. Otherwise like `run`.

    run_id: an id, a unique beginning of one, or `last`. max_duration, max_cost: other limits than it was started with, counted from its
    beginning. Raises RunNotFound, RunBusy.
    """
    options: dict[str, Any] = {"trust_commands": trust_commands, "fail_fast": fail_fast, "max_duration": max_duration, "max_cost": max_cost}
    engine = partial(runs.resume, open_run(run_id).id, **options)
    return _begun(Work(engine, observers, display))


def open_run(run_id: str = "last") -> Run:
    """A run of this machine, whoever started it. run_id: an id, a unique beginning of one, or `last`. Raises RunNotFound."""
    with Store() as store:
        record = store.find(run_id)
    return _run_of(record)


def list_runs(limit: int | None = None) -> list[Run]:
    """The runs of this machine, newest first. limit: at most so many."""
    with Store() as store:
        return [_run_of(record) for record in store.runs(limit)]


def _begun(work: Work) -> Run:
    run_id, directory = work.begin()
    return Run(run_id, directory, work)


def _run_of(record: RunRecord) -> Run:
    return Run(record.run_id, record.directory, background.work_on(record.run_id))


def _chosen(
    config: str | Path | Mapping[str, Any] | Config,
    overrides: Sequence[str],
    executor: str | None,
    tasks: Sequence[str],
    folder: str | Path | None,
) -> Config:
    if not isinstance(config, Config):
        return load(config, overrides=overrides, config_dir=folder, executor=executor, tasks=tasks)
    if overrides or executor or tasks or folder:
        raise ConfigError("a config that is loaded already cannot be changed any more", "give overrides and the like to evalx.config.load")
    return config


def _task_status(board: Board, name: str, state: TaskState) -> TaskStatus:
    row = board.tasks[name]
    phase, reason = board.shown(row)
    return TaskStatus(name, state, phase, reason, row.done, row.total)
