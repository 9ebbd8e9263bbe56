"""The routes of endpoints, in whichever form the workspace speaks."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from evalx_lepton.emulator import validation
from evalx_lepton.emulator.answers import as_json, bad, conflict, missing
from evalx_lepton.emulator.endpoints import Endpoint, Replica
from evalx_lepton.emulator.guard import Call, Handler
from evalx_lepton.emulator.logs import LogFile
from evalx_lepton.emulator.streams import follow
from evalx_lepton.emulator.wire import merge_patch, replica_body

KIND = "endpoint"


async def listing(call: Call) -> Any:
    """All endpoints; no pages."""
    space = call.workspace
    bodies = [space.family.render(found) for found in space.endpoints.values() if space.ghosts.visible(found.created)]
    return bodies + space.ghosts.show(KIND)


async def create(call: Call) -> Any:
    """A new endpoint."""
    space, body = call.workspace, validation.mapping(call.body)
    name = validation.name(space.family.name(body))
    validation.endpoint_spec(space, space.family, body.get("spec"))
    if name in space.endpoints:
        raise conflict(KIND, name, "is being deleted" if space.endpoints[name].deleted_at else "already exists")
    visibility = str(_metadata(body).get("visibility") or "public")
    endpoint = Endpoint(space, name, dict(body["spec"]), _labels(call), visibility, call.user)
    generated = _says_nothing_of_access(endpoint.spec) and space.settings.secure_defaults and endpoint.generate_token()
    endpoint.scale("Starting")
    space.note(call.user, "create", f"endpoint/{name}")
    space.endpoints[name] = endpoint  # from now on others see it, while its port is being opened
    await endpoint.proxy.open()
    space.advance_endpoint(endpoint, time.monotonic())
    answer = space.family.render(endpoint)
    if generated:
        answer["spec"] = endpoint.spec
    return as_json(answer, 201)


async def get(call: Call) -> Any:
    """One endpoint."""
    return call.workspace.family.render(_find(call))


async def change(call: Call) -> Any:
    """A merge patch of its spec and metadata; `dryrun=true` only tells what would be."""
    space, endpoint, body = call.workspace, _alive(call), validation.mapping(call.body)
    if _is_masked(body):
        raise bad(f"{validation.MASKED} is how a token is shown, not a token")
    spec = merge_patch(endpoint.spec, body.get("spec") or {})
    visibility = str(_metadata(body).get("visibility") or endpoint.visibility)
    if spec == endpoint.spec and visibility == endpoint.visibility:
        raise bad("no valid field to update")
    if (body.get("spec") or {}).get("api_tokens") == [] and not spec.get("allow_unauthenticated_access"):
        raise bad("removing all tokens needs allow_unauthenticated_access: true")
    validation.endpoint_spec(space, space.family, spec)
    if call.query("dryrun") == "true":
        return space.family.render(endpoint) | {"spec": spec}
    space.note(call.user, "change", f"endpoint/{endpoint.name}")
    endpoint.visibility = visibility
    endpoint.token_is_generated &= "api_tokens" not in (body.get("spec") or {})
    endpoint.change(spec)
    return space.family.render(endpoint)


async def delete(call: Call) -> Any:
    """Begin to delete it."""
    endpoint = _find(call)
    call.workspace.note(call.user, "delete", f"endpoint/{endpoint.name}")
    endpoint.delete()
    call.workspace.advance_endpoint(endpoint, time.monotonic())
    return {}


async def restart(call: Call) -> Any:
    """All replicas anew."""
    endpoint = _alive(call)
    call.workspace.note(call.user, "change", f"endpoint/{endpoint.name}")
    endpoint.restart()
    return call.workspace.family.render(endpoint)


async def replicas(call: Call) -> Any:
    """The replicas that exist."""
    return [replica_body(replica.id, replica.ready) for replica in _find(call).replicas]


async def readiness(call: Call) -> Any:
    """Why replicas are not ready."""
    return {replica.id: [_issue(replica)] for replica in _find(call).replicas}


async def termination(call: Call) -> Any:
    """How containers ended, by replica."""
    return {replica.id: replica.terminations for replica in _find(call).replicas if replica.terminations}


async def events(call: Call) -> Any:
    """What happened to it."""
    endpoint = _find(call)
    return endpoint.events.render(endpoint.name)


async def log(call: Call) -> Any:
    """A replica's output, live."""
    endpoint, name = _find(call), call.path("replica")
    found = next((replica for replica in endpoint.replicas if replica.id == name), None)
    if found is None:
        raise missing("replica", name)
    return follow(found.log)


def logs_of(call: Call, name: str) -> list[LogFile]:
    """What the log store has of an endpoint, which may be gone."""
    space = call.workspace
    own = space.endpoints[name].logs if name in space.endpoints else []
    return [log for log in space.past_logs if log.labels.get("endpoint") == name] + own


ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "", listing),
    ("POST", "", create),
    ("GET", "/{name}", get),
    ("PATCH", "/{name}", change),
    ("DELETE", "/{name}", delete),
    ("PUT", "/{name}/restart", restart),
    ("GET", "/{name}/replicas", replicas),
    ("GET", "/{name}/replicas/{replica}/log", log),
    ("GET", "/{name}/events", events),
)
LEGACY_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/{name}/readiness", readiness),
    ("GET", "/{name}/termination", termination),
)


def _find(call: Call) -> Endpoint:
    name = call.path("name")
    endpoint = call.workspace.endpoints.get(name)
    if endpoint is None:
        raise missing(KIND, name)
    return endpoint


def _alive(call: Call) -> Endpoint:
    endpoint = _find(call)
    if endpoint.deleted_at is not None:
        raise conflict(KIND, endpoint.name, "is being deleted")
    return endpoint


def _labels(call: Call) -> dict[str, str]:
    return call.workspace.family.labels(call.body) if call.workspace.settings.keep_labels else {}


def _metadata(body: Any) -> dict[str, Any]:
    metadata = body.get("metadata") or {}
    return {**metadata, **(metadata.get("lepton_metadata") or {})}


def _is_masked(body: Any) -> bool:
    return any(token.get("value") == validation.MASKED for token in (body.get("spec") or {}).get("api_tokens") or [])


def _says_nothing_of_access(spec: Any) -> bool:
    return not spec.get("api_tokens") and not spec.get("allow_unauthenticated_access")


def _issue(replica: Replica) -> dict[str, str]:
    since = datetime.fromtimestamp(replica.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"reason": replica.reason, "message": replica.message, "creationTimestamp": since}
