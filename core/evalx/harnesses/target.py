"""The URL a harness must ask, from whatever form of URL an endpoint gave."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit, urlunsplit

from evalx.errors import ConfigError
from evalx.harnesses.api import Target
from evalx.model import EndpointHandle, Secret, TaskSpec

DEFAULT_ROUTES: Mapping[str, str] = {
    "chat": "/v1/chat/completions",
    "vlm": "/v1/chat/completions",
    "completions": "/v1/completions",
    "completions_logprob": "/v1/completions",
    "embedding": "/v1/embeddings",
}
"""Endpoint type to URL path, as OpenAI-compatible servers have them."""


def make_target(task: TaskSpec, endpoint: EndpointHandle) -> Target:
    """The target of a task. Raises ConfigError for an endpoint without URL or an unknown endpoint type."""
    if not endpoint.url:
        raise ConfigError(f"endpoint {endpoint.spec.name!r} has no URL yet")
    endpoint_type = task.options.get("endpoint_type") or "chat"
    url, base_url = route_url(endpoint.url, endpoint_type, endpoint.data.get("routes") or {})
    return Target(url, base_url, task.options.get("model") or endpoint.spec.model, endpoint_type, _api_key(task, endpoint))


def _api_key(task: TaskSpec, endpoint: EndpointHandle) -> Secret | None:
    if ref := endpoint.data.get("api_key"):
        return Secret(ref)
    name = task.options.get("api_key_name")
    return Secret(f"host:{name}") if name else None


def route_url(url: str, endpoint_type: str, routes: Mapping[str, str]) -> tuple[str, str]:
    """The full URL of the route for an endpoint type, and the base URL.

    url: a server (`http://h:8000`), a base URL (`http://h:8000/v1`) or the full URL of any route; nothing in it is repeated, its query
    is kept. routes: endpoint type to path, where the server differs from `DEFAULT_ROUTES`.
    """
    known = {**DEFAULT_ROUTES, **routes}
    if endpoint_type not in known:
        raise ConfigError(f"unknown endpoint type {endpoint_type!r}", f"one of: {', '.join(known)}")
    parts = urlsplit(url)
    path, tail = _with_route(parts.path.rstrip("/"), known[endpoint_type], known.values()), _tail(known[endpoint_type])
    full = urlunsplit(parts._replace(path=path, fragment=""))
    return full, urlunsplit(parts._replace(path=path.removesuffix(tail), query="", fragment=""))


def _with_route(path: str, route: str, known: Iterable[str]) -> str:
    for tail in sorted({_tail(other) for other in known}, key=len, reverse=True):
        if path.endswith(tail):
            return path.removesuffix(tail) + _tail(route)
    return _join(path, "/" + route.strip("/"))


def _tail(route: str) -> str:
    """A route without its version: `/chat/completions`."""
    return re.sub(r"^/v\d+(?=/)", "", "/" + route.strip("/"))


def _join(path: str, route: str) -> str:
    """path + route, where segments that end the one and begin the other appear once."""
    have, want = path.split("/"), route.split("/")[1:]
    overlap = next((n for n in range(len(want), 0, -1) if have[-n:] == want[:n]), 0)
    return "/".join([*have, *want[overlap:]])
