"""How long endpoints existed, and how much of that time a task asked them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from evalx.model import EndpointSpec
from evalx.report.data import RunData
from evalx.report.timeline import Lane

WORK = {"submitted", "queueing", "starting", "running", "collecting"}
"""Kinds of segments of a task that needs its endpoint."""


@frozen
class Usage:
    """An endpoint in numbers; lengths in seconds. owned: evalx made it, so that its time is the run's. open: it may exist still.

    ready_after: from when it was asked for until it answered; None: it never did. busy: while a task asked it.
    """

    spec: EndpointSpec
    shape: str | None
    owned: bool
    alive: float
    ready_after: float | None
    busy: float
    open: bool


def usage(run: RunData, found: Sequence[Lane]) -> list[Usage]:
    """Every endpoint of the plan."""
    lanes = {lane.name: lane for lane in found if lane.kind == "endpoint"}
    asking: dict[str, list[Lane]] = {}
    for lane in found:
        if lane.kind == "task":
            asking.setdefault(lane.endpoint, []).append(lane)
    return [_usage(spec, lanes[spec.name], asking.get(spec.name, []), run.until) for spec in run.plan.endpoints]


def _usage(spec: EndpointSpec, lane: Lane, tasks: Iterable[Lane], until: float) -> Usage:
    spans = [(start, until if end is None else end) for start, end in lane.alive]
    work = [(segment.start, segment.end) for task in tasks for segment in task.segments if segment.kind in WORK]
    clipped = [(max(a, c), min(b, d)) for a, b in work for c, d in spans if max(a, c) < min(b, d)]
    return Usage(
        spec=spec,
        shape=find_text(spec.options, "resource_shape"),
        owned=spec.variant != "none",
        alive=sum(end - start for start, end in spans),
        ready_after=lane.ready_after,
        busy=_covered(clipped),
        open=any(end is None for _, end in lane.alive),
    )


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def find_text(options: Mapping[str, Any], key: str, depth: int = 8) -> str | None:
    """The first text under that key, as deep as options are."""
    for name, value in options.items():
        if name == key and isinstance(value, str) and value:
            return value
        found = find_text(value, key, depth - 1) if depth and isinstance(value, Mapping) else None
        if found is not None:
            return found
    return None
