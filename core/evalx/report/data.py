"""What a report is made of: a run, from the store or from its directory alone, which may have been copied here from elsewhere."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from attrs import evolve, field, frozen

from evalx.cost import Cost, cost_of
from evalx.errors import ExitCode, RunNotFound, StoreError
from evalx.model import Event, Metric, Outcome, RunPlan, Spec, TaskResult, TaskSpec
from evalx.results import RESULT_FILE, read_result
from evalx.results.store import damaged
from evalx.serial import from_json
from evalx.standing import condition, exit_code, left_alive
from evalx.store import ResourceRecord, RunRecord, Store, TaskRecord
from evalx.store.states import ResourceState, RunState, TaskState

T = TypeVar("T")

UNFINISHED = "unfinished"
"""The condition of a run of which only the directory is here, and which was not over when that was last written."""

OUTCOMES = {
    TaskState.SCORED: Outcome.PASSED,
    TaskState.NO_RESULT: Outcome.NO_RESULT,
    TaskState.FAILED: Outcome.FAILED,
    TaskState.TIMED_OUT: Outcome.TIMED_OUT,
    TaskState.CANCELLED: Outcome.CANCELLED,
    TaskState.LOST: Outcome.LOST,
    TaskState.SKIPPED: Outcome.SKIPPED,
}


@frozen
class Left:
    """Something of the run that exists or may exist at the backend. kind: `endpoint` or `task`. name: there. state: in a word."""

    kind: str
    name: str
    state: str
    reason: str | None = None


@frozen
class RunData:
    """A run as it is reported.

    condition: `running`, `interrupted`, `unfinished`, or its outcome in words. results: one per task that has one. left: what exists or
    may exist of it. exit_code: None while it is not over. cost: at most, as far as it is known. written: when this was put together,
    seconds since the epoch. notes: in words, what could not be read.
    """

    plan: RunPlan
    directory: Path
    condition: str
    events: tuple[Event, ...]
    results: tuple[TaskResult, ...]
    left: tuple[Left, ...] = ()
    exit_code: int | None = None
    cost: Cost | None = None
    written: float = field(factory=time.time)
    notes: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        return self.condition not in ("running", "interrupted", UNFINISHED)

    @property
    def reason(self) -> str | None:
        """Why the run ended as it did, if that was said."""
        last = next((event for event in reversed(self.events) if event.kind == "run"), None)
        return last.reason if last is not None and self.over else None

    @property
    def until(self) -> float:
        """The end of what is known, seconds since the epoch: now, unless nothing can have happened since the last event."""
        last = self.events[-1].time if self.events else self.plan.created
        return max(self.written, last) if self.condition in ("running", "interrupted") else last


def read_stored(store: Store, record: RunRecord) -> RunData:
    """A run of this machine's store."""
    code, tasks = exit_code(store, record), store.tasks(record.run_id)
    return RunData(
        plan=record.plan,
        directory=record.directory,
        condition=condition(store, record),
        events=tuple(store.events(record.run_id)),
        results=tuple(task.result for task in tasks if task.result is not None),
        left=tuple(Left(each.kind, each.name, each.state.value, each.reason) for each in left_alive(store, record)),
        exit_code=None if code is ExitCode.RUNNING else int(code),
        cost=cost_of(record.plan, store.resources(record.run_id), tasks),
    )


def read_directory(directory: Path) -> RunData:
    """The run whose directory this is, from its files alone. Raises RunNotFound if it is none, and StoreError if it is damaged."""
    plan = _read_plan(directory)
    events, notes = _read_events(directory / "events.jsonl")
    closed = next((event for event in reversed(events) if event.kind == "run"), None)
    over = closed is not None and closed.state in (RunState.KEEPING, RunState.CLOSED)
    data = closed.data if closed is not None and over else {}
    code = data.get("exit_code")
    results = _results(directory, plan, events)
    return RunData(
        plan=plan,
        directory=directory,
        condition=str(data.get("outcome") or "closed").replace("_", " ") if over else UNFINISHED,
        events=events,
        results=results,
        left=_left(plan, events),
        exit_code=code if isinstance(code, int) else None,
        cost=_cost(plan, events, results),
        notes=notes,
    )


def _read_plan(directory: Path) -> RunPlan:
    path = directory / "plan.json"
    try:
        return _structured(RunPlan, path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError):
        hint = "name a run (evalx ls shows them) or a run directory, such as evalx-runs/RUN"
        raise RunNotFound(f"{directory} is not the directory of a run: it has no plan.json", hint) from None
    except (OSError, UnicodeError) as error:
        raise StoreError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _structured(cls: type[T], text: str, source: str) -> T:
    try:
        return from_json(cls, json.loads(text))
    except Exception as error:
        # Whatever a damaged file makes json or cattrs raise.
        raise damaged(source, error) from error


def _read_events(path: Path) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """The events up to the first that is damaged, and what is to be said of that. The last line may be torn: it was being written."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        return (), (f"events.jsonl cannot be read ({error.strerror or error}): there is no timeline",)
    events: list[Event] = []
    for number, text in enumerate(lines, 1):
        try:
            event = _structured(Event, text.decode(), path.name)
        except (StoreError, UnicodeError):
            event = None
        if event is None or not math.isfinite(event.time):
            return tuple(events), (f"events.jsonl is damaged in line {number}: what came after it is not shown",)
        events.append(event)
    return tuple(events), ()


def _results(directory: Path, plan: RunPlan, events: Sequence[Event]) -> tuple[TaskResult, ...]:
    """The result of every task that is over: from its file where there is one, else from the event that told of it."""
    begun: dict[str, float] = {}
    ended: dict[str, Event] = {}
    for event in events:
        if event.kind == "task":
            ended[event.name] = event
            if event.state == TaskState.SUBMITTED:
                begun[event.name] = event.time
    kept = _kept(directory)
    found = []
    for task in plan.tasks:
        last = ended.get(task.name)
        if last is not None and last.state in OUTCOMES:
            key = (task.name, str(last.data.get("attempt")), OUTCOMES[TaskState(last.state)])
            found.append(kept.get(key) or _from_event(task, last, begun.get(task.name)))
    return tuple(found)


def _kept(directory: Path) -> dict[tuple[str, str, Outcome], TaskResult]:
    """Every result that has a file, by task, attempt and outcome."""
    found: dict[tuple[str, str, Outcome], TaskResult] = {}
    for path in (directory / "tasks").glob(f"*/{RESULT_FILE}"):
        with suppress(StoreError):
            result = read_result(path.parent)
            found[result.spec.name, str(result.spec.attempt), result.outcome] = result
    return found


def _from_event(task: TaskSpec, last: Event, began: float | None) -> TaskResult:
    metrics: list[Metric] = []
    with suppress(Exception):  # the file may come from anywhere, and cattrs raises what it likes
        metrics = [from_json(Metric, metric) for metric in last.data.get("metrics") or ()]
    return TaskResult(
        task, OUTCOMES[TaskState(last.state)], tuple(metrics), (), last.reason, began, last.time if began is not None else None
    )


def _left(plan: RunPlan, events: Sequence[Event]) -> tuple[Left, ...]:
    """What was not proven gone by the last event. An endpoint of the variant `none` is not the run's."""
    foreign = {spec.name for spec in plan.endpoints if spec.variant == "none"}
    last: dict[str, Left] = {}
    for event in events:
        if event.kind in ("endpoint", "job") and not (event.kind == "endpoint" and event.name in foreign):
            name = str(event.data.get("resource") or event.name)
            last[name] = Left("task" if event.kind == "job" else "endpoint", name, event.state, event.reason)
    return tuple(left for left in last.values() if left.state != ResourceState.GONE)


def _cost(plan: RunPlan, events: Sequence[Event], results: Sequence[TaskResult]) -> Cost | None:
    """The cost until the last event, from the times of the events. None where a plan from elsewhere has prices that are none."""
    specs: dict[tuple[str, str], Spec] = {("endpoint", spec.name): spec for spec in plan.endpoints if spec.variant != "none"}
    specs |= {("job", spec.name): spec for spec in plan.tasks}
    found: dict[str, ResourceRecord] = {}
    for event in events:
        spec = specs.get((event.kind, event.name))
        if spec is not None and event.state in set(ResourceState):
            name, attempt = str(event.data.get("resource") or event.name), event.data.get("attempt")
            state, known = ResourceState(event.state), found.get(f"{event.kind} {name}")
            if known is None:
                kind = "task" if event.kind == "job" else "endpoint"
                number = attempt if isinstance(attempt, int) else 0
                known = ResourceRecord(plan.run_id, kind, spec.index, number, name, spec, state, None, None, event.time, event.time)
            found[f"{event.kind} {name}"] = evolve(known, state=state, updated=event.time)
    ended = [
        TaskRecord(plan.run_id, each.spec.index, each.spec, TaskState.SCORED, each.spec.attempt, None, each, None, None) for each in results
    ]
    try:
        return cost_of(plan, found.values(), ended, now=events[-1].time if events else 0.0)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return None


def _record(plan: RunPlan, result: TaskResult) -> TaskRecord:
    spec, state = result.spec, next(state for state, outcome in OUTCOMES.items() if outcome is result.outcome)
    return TaskRecord(plan.run_id, spec.index, spec, state, spec.attempt, result.reason, result, result.started, result.ended)
