"""What happens around every call: it is counted, delayed, let in or not, and made to fail if the settings say so."""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from attrs import frozen
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from evalx_lepton.emulator.answers import ApiError, as_json
from evalx_lepton.emulator.faults import retry_after
from evalx_lepton.emulator.settings import Fault
from evalx_lepton.emulator.wire import USER
from evalx_lepton.emulator.workspace import Workspace

Handler = Callable[["Call"], Awaitable[Any]]
SLOW_STEPS = 10
FLUSH = 0.05
"""Seconds in which half an answer reaches the client before its connection goes."""


class Connections(H11Protocol):
    """uvicorn's protocol, with each connection to be found by its two ends, so that it can be reset."""

    known: ClassVar[dict[Any, asyncio.Transport]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.known[self.client, self.server] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.known.pop((self.client, self.server), None)
        super().connection_lost(exc)


@frozen
class Call:
    """One call of a handler. body: its JSON, or None. user: the account that calls."""

    workspace: Workspace
    request: Request
    body: Any
    user: str

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self.request.query_params.get(name, default)


@frozen
class Guard:
    """An ASGI application around one handler. template: the route, relative to the workspace."""

    workspace: Workspace
    template: str
    handler: Handler
    prefix: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.workspace.calls[f"{request.method} {self.template}"] += 1
        if self.workspace.settings.latency:
            await asyncio.sleep(self.workspace.settings.latency)
        fault = self.workspace.call_faults.pick(request.method, request.url.path[self.prefix :] or "/")
        if fault is not None and fault.when == "before" and fault.status not in ("cut", "slow"):
            await _fail(fault, scope, receive, send)
            return
        try:
            response = await self._answer(request)
        except ClientDisconnect:  # before all of its request was here
            return
        if fault is None:
            await response(scope, receive, send)
        else:
            await _spoil(fault, response, scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            user = self._admit(request)
            content = await self.handler(Call(self.workspace, request, await _body(request), user))
        except ApiError as error:
            return error.response()
        return content if isinstance(content, Response) else as_json(content)

    def _admit(self, request: Request) -> str:
        """The account whose token it is."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        for user, known in ((USER, self.workspace.token), *self.workspace.settings.users.items()):
            if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), known.encode()):
                return user
        raise ApiError(401, "Unauthorized", "the workspace token is missing or wrong")


async def _body(request: Request) -> Any:
    raw = await request.body()
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "InvalidRequest", f"the body is not JSON: {error}") from error


async def _fail(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    if fault.status == "reset":
        await _reset(scope)
        return
    assert isinstance(fault.status, int)
    error = {"code": "Fault", "message": fault.message}
    await as_json(error, fault.status, retry_after(fault))(scope, receive, send)


async def _spoil(fault: Fault, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """The call has had its effect; the answer goes wrong."""
    if fault.status not in ("cut", "slow") or isinstance(response, StreamingResponse):
        await _fail(fault, scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    body = bytes(response.body)
    if fault.status == "cut":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(FLUSH)
        await _reset(scope, gently=True)
        return
    step = max(len(body) // SLOW_STEPS, 1)
    for start in range(0, len(body), step):
        await asyncio.sleep(fault.seconds / SLOW_STEPS)
        await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _reset(scope: Scope, gently: bool = False) -> None:
    """End the connection; not gently: with a reset instead of an end."""
    transport = Connections.known.get((scope["client"], scope["server"]))
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None and not gently:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await asyncio.sleep(0)  # until the server knows, and does not try to answer
