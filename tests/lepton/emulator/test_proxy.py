"""What stands before an endpoint's server, when the endpoint goes."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from contextlib import suppress
from typing import Any

import pytest

from evalx_lepton.emulator.proxy import EndpointProxy

PATIENCE = 10.0
LARGE = b"POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000)
"""More than all buffers on the way hold."""


@pytest.mark.parametrize("request_", [b"", b"POST / HTTP/1.1\r\n", LARGE], ids=["idle", "half a head", "not read"])
def test_an_endpoint_that_goes_leaves_no_connection_open(
    request_: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: left.append((found.exc_value, found.object)))
    asyncio.run(_life(request_))
    gc.collect()
    assert left == []
    assert caplog.messages == []


async def _life(request: bytes) -> None:
    """An endpoint with a server that never reads, and a client in the midst of a request when the endpoint goes."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        proxy = EndpointProxy(list, lambda: deaf.getsockname()[1])
        await proxy.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(request)
        while not proxy._tasks or (request is LARGE and not proxy.active):
            await asyncio.sleep(0.01)
        proxy.close()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.transport.abort()
        await asyncio.sleep(0.01)
