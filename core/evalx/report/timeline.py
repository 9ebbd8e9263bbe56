"""Events as lanes: what each endpoint and task was doing, and when. Times are in seconds since the epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field, frozen

from evalx.model import Event, RunPlan
from evalx.report.data import OUTCOMES

KINDS: Mapping[str, str] = {
    "queueing": "queueing",
    "provisioning": "provisioning",
    "starting": "starting",
    "ready": "ready",
    "submitted": "submitted",
    "running": "running",
    "collecting": "collecting results",
    "cleanup": "cleaning up",
    "trouble": "not answering, or state unknown",
    "away": "evalx was not running",
}
"""What a segment may show, and how the legend calls it."""

_WORDS = (
    ("queueing", ("queue", "pending", "capacity", "schedul", "quota", "await", "approval")),
    ("provisioning", ("provision", "creat", "pull", "deploy", "allocat")),
    ("collecting", ("collect", "complete")),
    ("submitted", ("submit",)),
    ("starting", ("start", "load", "boot", "initiali", "wait", "check")),
    ("running", ("running",)),
)
_ENDPOINT_STATES = {"intent": "provisioning", "created": "provisioning", "ready": "ready", "kept": "ready", "deleting": "cleanup"}
_RUN_STATES = {"active": "running", "keeping": "ready"}
_TROUBLE = {"unknown", "degraded", "leak_suspected"}


@frozen
class Segment:
    """A stretch of time in which one thing was going on. kind: of `KINDS`. reason: what was last said of it. open: it goes on."""

    kind: str
    start: float
    end: float
    reason: str | None = None
    open: bool = False

    @property
    def seconds(self) -> float:
        return self.end - self.start


@define
class Lane:
    """The life of the run, an endpoint or a task. kind: `run`, `endpoint` or `task`. outcome, ended: how and when a task
    ended. endpoint: whom it asks."""

    kind: str
    name: str
    endpoint: str = ""
    segments: list[Segment] = field(factory=list)
    outcome: str = ""
    ended: float | None = None
    alive: list[tuple[float, float | None]] = field(factory=list)
    """For an endpoint: from when to when it existed; None: it may still."""
    ready_after: float | None = None
    """For an endpoint: seconds from when it was asked for until it answered, of the newest attempt."""
    assumed: bool = False
    """What goes on was not told yet by who knows; the first word of it counts from its beginning."""
    _now: tuple[str, float, str | None] | None = None

    def enter(self, kind: str, time: float, reason: str | None = None) -> None:
        """Something begins, and what went on before ends; the same again only changes the reason."""
        if self._now is not None and (self._now[0] == kind or self.assumed):
            self._now = (kind, self._now[1], reason or self._now[2])
            self.assumed = False
            return
        self.leave(time)
        self._now = (kind, time, reason)

    def leave(self, time: float, open_: bool = False) -> None:
        """Nothing goes on any more."""
        if self._now is not None:
            kind, start, reason = self._now
            self.segments.append(Segment(kind, start, max(start, time), reason, open_))
        self._now, self.assumed = None, False

    @property
    def doing(self) -> str | None:
        """What is going on now."""
        return self._now[0] if self._now is not None else None


def lanes(plan: RunPlan, events: Sequence[Event], until: float, deserted: bool = False) -> list[Lane]:
    """The run's lane, and after each endpoint the tasks that ask it. until: where what goes on is cut off. deserted: no process works
    on the run since the last event."""
    run = Lane("run", plan.run_id)
    endpoints = {spec.name: Lane("endpoint", spec.name) for spec in plan.endpoints}
    tasks = {spec.name: Lane("task", spec.name, spec.endpoint) for spec in plan.tasks}
    before = None
    for event in events:
        if event.kind == "run":
            _apply_to_run(run, event, before)
        elif event.kind == "endpoint" and event.name in endpoints:
            _apply_to_endpoint(endpoints[event.name], event)
        elif event.kind in ("task", "job") and event.name in tasks:
            _apply_to_task(tasks[event.name], event)
        elif event.kind == "progress":
            _progress(event, endpoints, tasks)
        before = event.time
    if deserted and before is not None and run.doing is not None:
        run.enter("away", before)
    ordered = [run, *_in_order(endpoints.values(), tasks.values())]
    for lane in ordered:
        lane.leave(max(until, before or until), open_=True)
    return ordered


def _in_order(endpoints: Iterable[Lane], tasks: Iterable[Lane]) -> list[Lane]:
    asking: dict[str, list[Lane]] = {}
    for task in tasks:
        asking.setdefault(task.endpoint, []).append(task)
    return [lane for endpoint in endpoints for lane in (endpoint, *asking.get(endpoint.name, ()))]


def _apply_to_run(lane: Lane, event: Event, before: float | None) -> None:
    if event.state == "closed":
        lane.leave(event.time)
    elif event.state == "planned":
        lane.enter("provisioning", event.time)
    else:
        if lane.doing in ("running", "cleanup") and event.state == "active" and before is not None:
            # Active a second time: another process goes on, and nobody was there since the event before.
            lane.enter("away", before)
        elif lane.doing is None and lane.segments:
            lane.enter("away", lane.segments[-1].end)
        lane.enter(_RUN_STATES.get(event.state, "cleanup"), event.time, event.reason)


def _apply_to_endpoint(lane: Lane, event: Event) -> None:
    state = event.state
    begun = lane.alive[-1][0] if lane.alive and lane.alive[-1][1] is None else None
    if state != "gone" and begun is None:
        lane.alive.append((event.time, None))
        begun, lane.ready_after = event.time, None
    if state == "gone":
        if begun is not None:
            lane.alive[-1] = (begun, event.time)
        lane.leave(event.time)
        return
    if state == "ready" and begun is not None and lane.ready_after is None:
        lane.ready_after = event.time - begun
    lane.enter("trouble" if state in _TROUBLE else _ENDPOINT_STATES.get(state, "starting"), event.time, event.reason)


def _apply_to_task(lane: Lane, event: Event) -> None:
    if event.kind == "job":
        lane.assumed = False
        if event.state == "deleting":
            lane.enter("cleanup", event.time, event.reason)
        elif event.state == "gone":
            lane.leave(event.time)
        elif event.state in _TROUBLE:
            lane.enter("trouble", event.time, event.reason)
    elif event.state in ("submitted", "running"):
        lane.outcome, lane.ended = "", None
        lane.enter(event.state, event.time, event.reason)
        # Accepted, which the core calls running: whether it queues there is told by the first report.
        lane.assumed = event.state == "running"
    else:
        over = event.state in OUTCOMES
        lane.outcome, lane.ended = (event.state, event.time) if over else ("", None)
        lane.leave(event.time)


def _progress(event: Event, endpoints: Mapping[str, Lane], tasks: Mapping[str, Lane]) -> None:
    """A report while something waits. One that names no word of ours changes the reason alone."""
    subject = event.data.get("subject")
    task, endpoint = tasks.get(event.name), endpoints.get(event.name)
    is_task = task is not None and subject != "endpoint" and (endpoint is None or subject == "task" or task.doing is not None)
    lane = task if is_task else endpoint
    if lane is None or lane.doing in (None, "ready", "cleanup"):
        return
    kind = kind_of(str(event.data.get("phase") or ""), event.reason)
    lane.enter(kind if kind is not None else lane.doing or "starting", event.time, event.reason)


def kind_of(phase: str, reason: str | None) -> str | None:
    """What kind of segment a reported phase is, told by its words; a platform's own word may stand first in the reason (`Queueing: …`)."""
    said = reason.partition(":")[0].lower() if reason and ":" in reason else ""
    for text in (said if len(said.split()) == 1 else "", phase.lower()):
        for kind, words in _WORDS:
            if any(word in text for word in words):
                return kind
    return None


def crowd(found: Sequence[Lane], start: float, end: float, steps: int = 160) -> list[tuple[str, list[int]]]:
    """How many tasks were doing what at evenly spaced times, for a picture of many. Kinds are in the order in which they are stacked."""
    width = (end - start) / steps or 1.0
    counts = {kind: [0] * (steps + 1) for kind in ("scored", "failed", *KINDS)}

    def count(kind: str, since: float, until: float) -> None:
        first, last = math.ceil((since - start) / width), math.floor((until - start) / width)
        for step in range(max(first, 0), min(last, steps) + 1):
            counts[kind][step] += 1

    for lane in found:
        if lane.kind != "task":
            continue
        over = lane.ended if lane.ended is not None else end
        for segment in lane.segments:
            count(segment.kind, segment.start, min(segment.end, over))
        if lane.ended is not None:
            count("scored" if lane.outcome == "scored" else "failed", lane.ended, end)
    return [(kind, values) for kind, values in counts.items() if any(values)]
