"""The routes of the emulated workspace, put together."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from evalx_lepton.emulator import endpoint_routes, job_routes, log_routes, workspace_routes
from evalx_lepton.emulator.answers import ApiError, bad
from evalx_lepton.emulator.containers import WORKSPACE
from evalx_lepton.emulator.guard import Call, Guard, Handler
from evalx_lepton.emulator.workspace import Workspace

PREFIX = f"/api/v2/workspaces/{WORKSPACE}"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def make_app(workspace: Workspace) -> Starlette:
    """The ASGI application of a workspace."""
    known = [*_endpoint_routes(workspace), *workspace_routes.ROUTES, *job_routes.ROUTES, *log_routes.ROUTES]
    routes = [_route(workspace, path, handler, [method]) for method, path, handler in known]
    return Starlette(routes=[*routes, *_refusals(workspace)])


def _endpoint_routes(workspace: Workspace) -> list[tuple[str, str, Handler]]:
    family = workspace.family.route
    own = endpoint_routes.ROUTES + (() if workspace.settings.new_endpoints else endpoint_routes.LEGACY_ROUTES)
    return [(method, family + path, handler) for method, path, handler in own]


def _refusals(workspace: Workspace) -> list[Route]:
    """The other form of endpoints, and what is not there."""
    other = "/deployments" if workspace.settings.new_endpoints else "/endpoints"
    return [
        _route(workspace, other, _other_form, METHODS),
        _route(workspace, other + "/{rest:path}", _other_form, METHODS),
        _route(workspace, "/{rest:path}", _unknown, METHODS),
    ]


def _route(workspace: Workspace, path: str, handler: Handler, methods: list[str]) -> Route:
    return Route(PREFIX + path, Guard(workspace, path or "/", handler, len(PREFIX)), methods=methods)


async def _other_form(call: Call) -> Any:
    raise bad(f"the endpoints of this workspace are under {call.workspace.family.route}")


async def _unknown(call: Call) -> Any:
    path = call.request.url.path[len(PREFIX) :]
    raise ApiError(404, "RouteNotFound", f"the emulated workspace has no {call.request.method} {path}")
