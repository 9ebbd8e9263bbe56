"""The routes of jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from evalx_lepton.emulator import validation
from evalx_lepton.emulator.answers import as_json, bad, missing
from evalx_lepton.emulator.guard import Call, Handler
from evalx_lepton.emulator.jobs import Job
from evalx_lepton.emulator.labels import selects
from evalx_lepton.emulator.logs import LogFile
from evalx_lepton.emulator.names import suffix
from evalx_lepton.emulator.streams import follow
from evalx_lepton.emulator.wire import merge_patch, replica_body

ALIVE, ARCHIVE, BOTH = "alive_only", "archive_only", "alive_and_archive"
PAGE_SIZE = 20


async def listing(call: Call) -> Any:
    """Jobs that match the query, the newest first."""
    space, mode = call.workspace, _mode(call, ALIVE)
    found: list[dict[str, Any]] = []
    if mode != ARCHIVE:
        found += [job.render() for job in space.jobs.values() if space.ghosts.visible(job.created)] + space.ghosts.show("job")
    if mode != ALIVE:
        found += [job.render() for job in space.archive.values()]
    found = [body for body in found if _matches(call, body)]
    found.sort(key=lambda body: -body["metadata"]["created_at"])
    return {"jobs": _page(call, found), "total": len(found)}


async def create(call: Call) -> Any:
    """A new job; its id is the name with something added, so several may share a name."""
    space, body = call.workspace, validation.mapping(call.body)
    metadata = body.get("metadata") or {}
    name = validation.name(str(metadata.get("id") or metadata.get("name") or ""))
    validation.job_spec(space, body.get("spec"))
    labels = dict(metadata.get("labels") or {}) if space.settings.keep_labels else {}
    job = Job(space, f"{name}-{suffix(4)}", name, dict(body["spec"]), labels, str(metadata.get("visibility") or "public"), call.user)
    space.note(call.user, "create", f"job/{job.id}")
    space.jobs[job.id] = job
    space.wake()
    space.advance_job(job, time.monotonic())
    return as_json(job.render(), 201)


async def get(call: Call) -> Any:
    """One job."""
    return _find(call, BOTH).render()


async def change(call: Call) -> Any:
    """A merge patch of its spec, such as `stopped`."""
    job, body = _find(call, ALIVE), validation.mapping(call.body)
    spec = merge_patch(job.spec, body.get("spec") or {})
    validation.job_spec(call.workspace, spec)
    call.workspace.note(call.user, "change", f"job/{job.id}")
    job.change(spec)
    return job.render()


async def delete(call: Call) -> Any:
    """Begin to delete it; an archived one is forgotten."""
    job = _find(call, ALIVE)
    call.workspace.note(call.user, "delete", f"job/{job.id}")
    if job.archived:
        del call.workspace.archive[job.id]
    else:
        job.delete()
        call.workspace.advance_job(job, time.monotonic())
    return {}


async def replicas(call: Call) -> Any:
    """Its workers, those that failed and were replaced too."""
    return [replica_body(log.labels["replica"]) for log in _find(call, BOTH).all_logs]


async def events(call: Call) -> Any:
    """What happened to it."""
    job = _find(call, BOTH)
    return job.events.render(job.id)


async def log(call: Call) -> Any:
    """A worker's output, live: while the job is, since it goes with the pod."""
    job, name = _find(call, ALIVE), call.path("replica")
    found = next((log for log in job.all_logs if log.labels["replica"] == name), None)
    if found is None:
        raise missing("replica", name)
    return follow(found)


def logs_of(call: Call, job_id: str) -> list[LogFile]:
    """What the log store has of a job, also of an archived one."""
    job = call.workspace.jobs.get(job_id) or call.workspace.archive.get(job_id)
    return job.all_logs if job else []


def logs_of_attempt(call: Call, name: str) -> list[LogFile]:
    """What the log store has of one attempt of a job."""
    jobs = [*call.workspace.jobs.values(), *call.workspace.archive.values()]
    return [log for job in jobs for log in job.all_logs if log.labels["job_history_name"] == name]


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/jobs", listing),
    ("POST", "/jobs", create),
    ("GET", "/jobs/{name}", get),
    ("PATCH", "/jobs/{name}", change),
    ("DELETE", "/jobs/{name}", delete),
    ("GET", "/jobs/{name}/replicas", replicas),
    ("GET", "/jobs/{name}/replicas/{replica}/log", log),
    ("GET", "/jobs/{name}/events", events),
)


def _find(call: Call, default: str) -> Job:
    name, mode = call.path("name"), _mode(call, default)
    job = call.workspace.jobs.get(name) if mode != ARCHIVE else None
    job = job or (call.workspace.archive.get(name) if mode != ALIVE else None)
    if job is None:
        raise missing("job", name)
    return job


def _mode(call: Call, default: str) -> str:
    mode = call.query("job_query_mode", default)
    if mode not in (ALIVE, ARCHIVE, BOTH):
        raise bad(f"invalid job_query_mode {mode!r}")
    return mode


def _matches(call: Call, body: Mapping[str, Any]) -> bool:
    metadata, query = body["metadata"], call.request.query_params
    groups = set((body["spec"].get("affinity") or {}).get("allowed_dedicated_node_groups") or ())
    return (
        call.query("q") in metadata["name"]
        and selects(call.query("query"), metadata.get("labels") or {})
        and (not query.getlist("status") or body["status"]["state"] in query.getlist("status"))
        and (not query.getlist("node_groups") or bool(groups & set(query.getlist("node_groups"))))
        and call.query("created_by", metadata["created_by"]) == metadata["created_by"]
    )


def _page(call: Call, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of them, unless a page is asked for."""
    try:
        page, size = int(call.query("page", "1")), int(call.query("page_size", "0"))
    except ValueError as error:
        raise bad("page and page_size are numbers") from error
    if not size and not call.query("page"):
        return found
    size = size or PAGE_SIZE
    return found[(page - 1) * size : page * size]
