"""Live output of a replica: what is there, and then what comes, until the process has ended."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from evalx_lepton.emulator.logs import LogFile

LOOK = 0.1
CHUNK = 256 * 1024


def follow(log: LogFile) -> Response:
    """The answer to a call for a live log."""
    return StreamingResponse(_text(log), media_type="text/plain; charset=utf-8")


async def _text(log: LogFile) -> AsyncIterator[bytes]:
    """Chunks of whole characters: clients decode each by itself."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    offset = 0
    while True:
        over = log.closed
        content = log.read(offset, CHUNK)
        offset += len(content)
        if text := decoder.decode(content, final=over and not content):
            yield text.encode()
        if over and not content:
            return
        if not content:
            await asyncio.sleep(LOOK)
