"""What went wrong, told once: tasks that failed for the same reason stand together, with the end of one log."""

from __future__ import annotations

from attrs import define, field

from evalx.logfiles import log_of
from evalx.model import EndpointSpec, Outcome, Spec
from evalx.reasons import apart
from evalx.report.data import RunData
from evalx.results import tail
from evalx.store.states import ResourceState

LOG_LINES = 20
LOGS_SHOWN = 50


@define
class Failure:
    """Tasks, or endpoints, and what became of them. names: of all that share outcome, reason and hints. skipped: the tasks of these
    endpoints that therefore never started. log: the last lines of the first one's log. source: where that log is, in the run directory."""

    kind: str
    outcome: str
    reason: str
    hints: list[str]
    names: list[str] = field(factory=list)
    skipped: list[str] = field(factory=list)
    log: list[str] = field(factory=list)
    source: str = ""


def failures(run: RunData) -> list[Failure]:
    """Endpoints that never answered or stopped answering, then tasks without a score. The first 50 have the end of their logs."""
    found: dict[tuple[str, str], tuple[Failure, Spec]] = {}
    blamed: dict[str, Failure] = {}
    for endpoint, reason in _dead_endpoints(run):
        blamed[endpoint.name] = _add(found, "endpoint", "failed", reason, endpoint)
    for result in run.results:
        spec = result.spec
        if result.outcome is Outcome.SKIPPED and spec.endpoint in blamed:
            blamed[spec.endpoint].skipped.append(spec.name)
        elif result.outcome is not Outcome.PASSED:
            _add(found, "task", result.outcome.value, result.reason, spec)
    for failure, first in list(found.values())[:LOGS_SHOWN]:
        path = log_of(run.directory, first)
        if path is not None:
            failure.log = tail(path, LOG_LINES)
            failure.source = str(path.relative_to(run.directory))
    return [failure for failure, _ in found.values()]


def _add(found: dict[tuple[str, str], tuple[Failure, Spec]], kind: str, outcome: str, reason: str | None, spec: Spec) -> Failure:
    whole = reason or "no reason is known"
    failure, _ = found.setdefault((f"{kind} {outcome}", whole), (Failure(kind, outcome, *apart(whole)), spec))
    failure.names.append(spec.name)
    return failure


def _dead_endpoints(run: RunData) -> list[tuple[EndpointSpec, str | None]]:
    said = {event.name: event.reason for event in run.events if event.kind == "endpoint" and event.state == ResourceState.DEGRADED}
    return [(spec, said[spec.name]) for spec in run.plan.endpoints if spec.name in said]
