"""A run as displays see it: events folded into one row per task.

Used by every display and by `watch`, so that they agree. Holds plain values only; nothing here writes anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from evalx.display.text import line, plural, score
from evalx.model import Event, RunPlan

ENDPOINT_PHASES = {
    "intent": "deploying",
    "created": "deploying",
    "unknown": "looking",
    "ready": "ready",
    "kept": "kept",
    "degraded": "degraded",
    "deleting": "deleting",
    "gone": "gone",
    "leak_suspected": "may be alive",
}
AFTER_READY = {"ready", "kept", "degraded", "deleting", "gone", "leak_suspected"}
TASK_PHASES = {"pending": "waiting", "no_result": "no result", "timed_out": "timed out"}

DONE = {"scored"}
BAD = {"failed", "no_result", "timed_out", "lost", "skipped", "cancelled"}
ACTIVE = {"submitted", "running"}


@define
class Status:
    """How one endpoint or task is doing. began, ended: seconds since the epoch; done, total: samples."""

    name: str
    state: str = "pending"
    phase: str | None = None
    reason: str | None = None
    done: int | None = None
    total: int | None = None
    began: float | None = None
    ended: float | None = None

    def enter(self, event: Event) -> None:
        """Take over a state change; what was said of the state before is forgotten."""
        self.state = event.state
        self.phase = None
        self.reason = line(event.reason) if event.reason else None
        self.began = self.began if self.began is not None else event.time

    def progress(self, event: Event) -> None:
        """Take over what a hook reported while it waits."""
        self.phase = line(event.data.get("phase") or "") or None
        self.reason = line(event.reason or event.data.get("reason") or "") or None
        self.done, self.total = _count(event.data.get("done")), _count(event.data.get("total"))


@define
class Task(Status):
    """A task's row. endpoint: the name of the one it asks. scores: `name value` of its first metric, once scored. counting: when samples
    were first counted, and how many there were."""

    endpoint: str = ""
    scores: str | None = None
    counting: tuple[float, int] | None = None

    @property
    def over(self) -> bool:
        return self.state in DONE or self.state in BAD

    @property
    def samples(self) -> str:
        """`12/40`, `12`, or nothing where the harness does not tell."""
        if self.done is None:
            return ""
        return f"{self.done}/{self.total}" if self.total else str(self.done)

    def left(self, now: float) -> float | None:
        """Seconds until all samples are done, if it goes on as it has so far; None where that cannot be told."""
        if self.state not in ACTIVE or self.done is None or not self.total or self.counting is None:
            return None
        since, before = self.counting
        return (self.total - self.done) * (now - since) / (self.done - before) if self.done > before and now > since else None

    def progress(self, event: Event) -> None:
        super().progress(event)
        if self.done is not None and (self.counting is None or self.done < self.counting[1]):
            self.counting = (event.time, self.done)

    def enter(self, event: Event) -> None:
        super().enter(event)
        if self.over:
            self.ended = event.time
        if self.state in DONE:
            self.scores = first_score(event.data)


@define
class Board:
    """All rows of a run, and the state of the run itself. Make it from the plan, then `apply` every event in order."""

    plan: RunPlan
    tasks: dict[str, Task] = field(init=False)
    endpoints: dict[str, Status] = field(init=False)
    run: Status = field(init=False)
    outcome: str | None = None

    def __attrs_post_init__(self) -> None:
        self.tasks = {spec.name: Task(spec.name, endpoint=spec.endpoint) for spec in self.plan.tasks}
        self.endpoints = {spec.name: Status(spec.name) for spec in self.plan.endpoints}
        self.run = Status(self.plan.run_id, "planned")

    def apply(self, event: Event) -> Status | None:
        """Fold one event in. Returns whose status it was; None for a warning or something unknown."""
        status = self.about(event)
        if status is None:
            return None
        if event.kind == "progress":
            status.progress(event)
        else:
            status.enter(event)
        if event.kind == "run":
            self.outcome = event.data.get("outcome") or self.outcome
        return status

    def about(self, event: Event) -> Status | None:
        """The row that an event speaks of."""
        if event.kind == "run":
            return self.run
        if event.kind == "endpoint":
            return self.endpoints.get(event.name)
        if event.kind == "task":
            return self.tasks.get(event.name)
        return self._reporting(event) if event.kind == "progress" else None

    def _reporting(self, event: Event) -> Status | None:
        """Who reports progress: an endpoint and its task may share a name, and a task reports only once it is submitted."""
        task, endpoint = self.tasks.get(event.name), self.endpoints.get(event.name)
        subject = event.data.get("subject")
        if subject in ("task", "endpoint"):
            return task if subject == "task" else endpoint
        return task if task is not None and (endpoint is None or task.state in ACTIVE) else endpoint

    def shown(self, task: Task) -> tuple[str, str]:
        """Phase and reason of a task as a person wants them: while it waits for its endpoint, those of the endpoint."""
        endpoint = self.endpoints.get(task.endpoint)
        if task.state == "pending" and endpoint is not None and endpoint.state not in ("pending", "ready"):
            return endpoint.phase or ENDPOINT_PHASES.get(endpoint.state, endpoint.state), endpoint.reason or task.reason or ""
        phase = task.phase if task.state in ACTIVE and task.phase else TASK_PHASES.get(task.state, task.state)
        return phase, (task.scores or task.reason or "")

    def endpoint_of(self, task: Task) -> str:
        """The endpoint's phase from when it is ready (before, it is the task's own), with its name where that is not the task's."""
        endpoint = self.endpoints.get(task.endpoint)
        state = endpoint.state if endpoint is not None else ""
        phase = ENDPOINT_PHASES[state] if state in AFTER_READY else ""
        return phase if task.endpoint == task.name else f"{task.endpoint} {phase}".rstrip()

    def elapsed(self, task: Task, now: float) -> float | None:
        """Seconds since its endpoint was begun, or the task itself if the endpoint serves others too."""
        endpoint = self.endpoints.get(task.endpoint)
        own = endpoint is not None and task.endpoint == task.name
        began = endpoint.began if own and endpoint is not None and endpoint.began is not None else task.began
        return None if began is None else (task.ended or now) - began

    def counts(self) -> dict[str, int]:
        """How many tasks are in each group, without the empty groups, in the order a reader wants."""
        found = Counter(group(task) for task in self.tasks.values())
        return {name: found[name] for name in ("running", "waiting", "scored", "failed", "cancelled") if found[name]}

    def summary(self) -> str:
        """`3 tasks: 2 running, 1 scored`."""
        return f"{plural(len(self.tasks), 'task')}: " + ", ".join(f"{count} {name}" for name, count in self.counts().items())


def is_warning(event: Event) -> bool:
    """Whether the event is no change of a row but something that should not have happened."""
    return event.kind == "warning" or (event.kind, event.state) == ("job", "leak_suspected")


def group(task: Task) -> str:
    """What a task is counted under: running, waiting, scored, failed or cancelled (which skipped ones are as well)."""
    if task.state in ACTIVE:
        return "running"
    if task.state in DONE:
        return "scored"
    if task.state in ("cancelled", "skipped"):
        return "cancelled"
    return "failed" if task.state in BAD else "waiting"


def first_score(data: Mapping[str, Any]) -> str | None:
    """`accuracy 0.4500 ± 0.0790` from the data of a scored task's event."""
    metrics = data.get("metrics") or ()
    if not metrics:
        return None
    first = metrics[0]
    spread = f" ± {score(first['stderr'])}" if first.get("stderr") is not None else ""
    return f"{line(first['name'])} {score(first['value'])}{spread}"


def interrupt_notice(plan: RunPlan, asks: bool = False) -> str:
    """What Ctrl-C will do to this run. asks: it asks first."""
    owned = sum(spec.variant != "none" for spec in plan.endpoints)
    if asks:
        return f"Ctrl-C asks: stop{_deleting(owned, 'delete')}, detach, or go on"
    return f"Ctrl-C stops the run{_deleting(owned)}" if owned else "Ctrl-C stops the run; the endpoint is not evalx's and stays"


def interrupt_question(plan: RunPlan) -> str:
    """What Ctrl-C asks."""
    owned = sum(spec.variant != "none" for spec in plan.endpoints)
    return f"Ctrl-C: [s]top{_deleting(owned, 'delete')}, [d]etach, [c]ontinue?"


def _deleting(owned: int, word: str = "deletes") -> str:
    return f" and {word} {plural(owned, 'endpoint')}" if owned else ""


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
