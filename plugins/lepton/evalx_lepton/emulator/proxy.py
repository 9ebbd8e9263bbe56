"""What stands between the world and an endpoint's server: it wants the token, and counts as traffic what it lets through.

One request a connection (the answer says so); everything after the head of a request is passed on as it comes, so bodies may stream.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from attrs import define, field

HEAD_LIMIT = 64 * 1024
CHUNK = 64 * 1024
DRAIN = 1 << 20
"""Bytes of a refused request's body that are read, so that the refusal is not lost in a reset."""

_HOP = re.compile(rb"\r\n(?:connection|proxy-connection|keep-alive):[^\r\n]*", re.IGNORECASE)
_BEARER = re.compile(rb"\r\nauthorization:[ \t]*bearer[ \t]+([^\r\n]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


@define
class EndpointProxy:
    """tokens: any of which opens it; empty: open to all. target: the port to pass a request to, or None while there is none."""

    tokens: Callable[[], Sequence[str]]
    target: Callable[[], int | None]
    port: int = 0
    active: int = 0
    last_request: float = field(factory=time.monotonic)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    @property
    def url(self) -> str:
        """Where the world finds the endpoint."""
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Start listening, on a port of the system's choice."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_LIMIT, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening, and drop what is under way."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:  # by `close`; asyncio would report a handler that ends so as an error
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.last_request = time.monotonic()
        if not self._admits(head):
            await _refuse(reader, writer, head, "401 Unauthorized", "the endpoint's API token is missing or wrong")
            return
        port = self.target()
        if port is None:
            await _refuse(reader, writer, head, "503 Service Unavailable", "no replica of the endpoint is ready")
            return
        self.active += 1
        try:
            await _pass_on(head, port, reader, writer)
        finally:
            self.active -= 1
            self.last_request = time.monotonic()

    def _admits(self, head: bytes) -> bool:
        tokens = self.tokens()
        found = _BEARER.search(head)
        given = found[1].strip() if found else b""
        return not tokens or any(hmac.compare_digest(given, token.encode()) for token in tokens)


async def _pass_on(head: bytes, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port, limit=HEAD_LIMIT)
    except OSError:
        await _refuse(reader, writer, head, "502 Bad Gateway", "the endpoint's server does not accept connections")
        return
    server_writer.write(_HOP.sub(b"", head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    both = [asyncio.create_task(_copy(reader, server_writer)), asyncio.create_task(_copy(server_reader, writer))]
    try:
        # A client that closes has given up, and so shall the server.
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        server_writer.transport.abort()  # what it has not read yet, nobody wants any more


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, status: str, message: str) -> None:
    body = json.dumps({"code": status.partition(" ")[2].replace(" ", ""), "message": message}).encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    await writer.drain()
    length = _LENGTH.search(head)
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        await asyncio.wait_for(reader.readexactly(min(int(length[1]), DRAIN) if length else 0), 1.0)
