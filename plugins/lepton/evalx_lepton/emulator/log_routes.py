"""The log store: what workloads wrote, also after they are gone."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from evalx_lepton.emulator import endpoint_routes, job_routes
from evalx_lepton.emulator.answers import bad
from evalx_lepton.emulator.guard import Call, Handler
from evalx_lepton.emulator.logs import LogFile, Query, as_loki, search

DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000
NANO = 1_000_000_000


async def logs(call: Call) -> Any:
    """Lines of a workload in a span of time."""
    space = call.workspace
    files = _files(call)
    space.collect_logs(files)
    return as_loki(search(files, _query(call), space.settings.log_resolution))


async def timeseries(call: Call) -> Any:
    """How many lines there are, by interval."""
    step = max(_number(call, "interval_ms", 60_000), 1) * 1_000_000
    query = _query(call)
    files = _files(call)
    call.workspace.collect_logs(files)
    counts = Counter(line.time // step * step for file in files for line in file.lines(query.start, query.end))
    return {"data": {"result": [{"metric": {}, "values": [[moment // 1_000_000, str(count)] for moment, count in sorted(counts.items())]}]}}


ROUTES: tuple[tuple[str, str, Handler], ...] = (("GET", "/logs", logs), ("GET", "/logs/timeseries", timeseries))


def _files(call: Call) -> list[LogFile]:
    if not call.workspace.settings.log_collection:
        return []
    replica = call.query("replica")
    return [log for log in _of_workload(call) if replica in ("", log.labels["replica"])]


def _of_workload(call: Call) -> list[LogFile]:
    if job := call.query("job"):
        return job_routes.logs_of(call, job)
    if attempt := call.query("job_history_name"):
        return job_routes.logs_of_attempt(call, attempt)
    if endpoint := call.query(call.workspace.family.log_key):
        return endpoint_routes.logs_of(call, endpoint)
    raise bad(f"one of job, {call.workspace.family.log_key} and job_history_name is needed")


def _query(call: Call) -> Query:
    """The span defaults to everything; nothing is found before it is collected."""
    start, end = _number(call, "start", 1), _number(call, "end", 1 << 62)
    if end <= start:
        raise bad("end must be after start")
    limit = _number(call, "limit", DEFAULT_LIMIT)
    if not 0 < limit <= MAX_LIMIT:
        raise bad(f"limit must be from 1 to {MAX_LIMIT}")
    collected = time.time_ns() - int(call.workspace.settings.log_lag * NANO) + 1
    return Query(start, min(end, collected), limit, call.query("direction", "backward") == "forward", call.query("q"))


def _number(call: Call, name: str, default: int) -> int:
    text = call.query(name)
    try:
        return int(text) if text else default
    except ValueError as error:
        raise bad(f"{name} must be a number") from error
