"""Endpoints that stay up for a while when the tasks of their run are over: what is told of them, and the files that hold their keys."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from evalx.errors import StoreError
from evalx.harnesses.target import route_url
from evalx.model import EndpointHandle, RunPlan
from evalx.places import state_directory
from evalx.serving import asked_type
from evalx.store.records import ResourceRecord
from evalx.store.states import ResourceState

if TYPE_CHECKING:
    from evalx.context import RunContext


@frozen
class KeptEndpoint:
    """An endpoint that is kept.

    url: of the route that the run's tasks asked. base_url: of its API, as OpenAI's clients want it. model: what it is asked as. key_file:
    holds the token that requests must carry; key_variable: names the user's variable that does; both None: it wants none.
    """

    name: str
    resource: str
    url: str
    base_url: str
    model: str
    key_file: Path | None = None
    key_variable: str | None = None


@frozen
class Kept:
    """What is kept of a run. until: seconds since the epoch. keeper: the process that deletes it then; None: nobody will."""

    until: float
    endpoints: tuple[KeptEndpoint, ...]
    keeper: int | None = None


def kept_endpoints(plan: RunPlan, resources: Iterable[ResourceRecord]) -> tuple[KeptEndpoint, ...]:
    """Those of a run's resources that are kept."""
    handles = (resource.handle for resource in resources if resource.state is ResourceState.KEPT)
    return tuple(_told(plan, handle) for handle in handles if isinstance(handle, EndpointHandle))


def _told(plan: RunPlan, handle: EndpointHandle) -> KeptEndpoint:
    url, base = route_url(handle.url or "", asked_type(plan, handle.spec), handle.data.get("routes") or {})
    reference = str(handle.data.get("api_key") or "")
    return KeptEndpoint(
        name=handle.spec.name,
        resource=handle.resource,
        url=url,
        base_url=base,
        model=handle.spec.model,
        key_file=key_file(handle.resource) if handle.data.get("token") else None,
        key_variable=reference.removeprefix("host:") if reference.startswith("host:") else None,
    )


def clock(moment: float) -> str:
    """A time of day, with the date if it is not today's."""
    when = time.localtime(moment)
    return time.strftime("%H:%M" if when[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M", when)


# ---------------------------------------------------------------------- keys


def key_file(resource: str) -> Path:
    """Where the token of an endpoint is while it is kept."""
    return state_directory().absolute() / "kept" / f"{resource}.key"


def hand_over_key(run: RunContext, handle: EndpointHandle) -> None:
    """Write the token of an endpoint that is to be kept, readable by the user alone. Raises StoreError."""
    purpose = handle.data.get("token")
    if not purpose:
        return
    path = key_file(handle.resource)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(run.token(str(purpose)) + "\n")
        part.replace(path)
    except OSError as error:
        raise StoreError(f"the key of endpoint {handle.spec.name} cannot be written: {error}") from error


def remove_key(resource: str) -> None:
    """Take the file away again, if there is one. Raises StoreError."""
    try:
        key_file(resource).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"the key of endpoint {resource} cannot be removed: {error}") from error
