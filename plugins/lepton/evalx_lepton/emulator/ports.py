"""Ports of this machine: free ones for servers, and which of them somebody listens on."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

from attrs import define, field

BELOW_EPHEMERAL = range(20000, 32000)
"""Where no outgoing connection gets its port from, so that one which is free stays free."""

LISTEN = b"0A"


@define
class Ports:
    """Gives each server a port of its own."""

    _used: set[int] = field(factory=set)

    def take(self) -> int:
        """A port that nobody listens on and that has not been given to anybody else. Raises OSError if there is none."""
        for _ in range(1000):
            port = random.choice(BELOW_EPHEMERAL)  # noqa: S311 -- other emulators choose too, so not the first free one
            if port not in self._used and _is_free(port):
                self._used.add(port)
                return port
        raise OSError("no free port")

    def release(self, port: int | None) -> None:
        """It may be given to somebody else."""
        self._used.discard(port or 0)


def listening() -> set[int]:
    """All TCP ports that somebody listens on: one look for any number of servers."""
    found = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            found |= {int(row[1].rpartition(b":")[2], 16) for row in map(bytes.split, _rows(name)) if row[3] == LISTEN}
    return found


def _rows(name: str) -> list[bytes]:
    return Path("/proc/net", name).read_bytes().splitlines()[1:]


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
