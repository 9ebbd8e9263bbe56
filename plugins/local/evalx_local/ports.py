"""TCP ports that no two evalx servers or tasks of this machine share.

A model server binds its port long after it was started, and a harness looks for one that is free: both are races that end with one
task reporting the scores of another's model. So a port is reserved by a lock on a file, and the lock is handed down to the process it
is for: it lives exactly as long as that process, whatever happens to evalx.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import stat
import tempfile
from pathlib import Path
from types import TracebackType

HOST = "127.0.0.1"

RANGE = range(20000, 32768)
"""Below the ports that the kernel gives to outgoing connections, which could take one between reservation and use."""

TRIES = 500


HINT = "remove deployment.port, and a free one is taken"


class PortTaken(OSError):
    """The port is in use, or reserved; or, where any would do, none is free."""


class Port:
    """A reserved port. A context manager: the reservation ends with the block, unless a process has inherited the lock by then."""

    def __init__(self, number: int, lock: int) -> None:
        self.number = number
        self.lock = lock

    def __enter__(self) -> Port:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.lock)


def reserve(number: int | None = None) -> Port:
    """That port, or any that is free. Raises PortTaken, or another OSError if it cannot be reserved."""
    if number:
        port = _try(number)
        if port is None:
            raise PortTaken(f"port {number} is in use{_by_whom(number)}")
        return port
    for candidate in random.sample(RANGE, TRIES):
        if port := _try(candidate):
            return port
    raise PortTaken(f"no free port found in {RANGE.start}-{RANGE.stop - 1}")


def _try(number: int) -> Port | None:
    lock = os.open(_folder() / str(number), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, number))
    except OSError:
        os.close(lock)
        return None
    return Port(number, lock)


def _folder() -> Path:
    """Where the locks are: one place for all evalx processes of the user."""
    folder = Path(tempfile.gettempdir()) / f"evalx-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(f"{folder} is not a folder of ours")
    return folder


def _by_whom(number: int) -> str:
    """` by process 12 (python3)`, if this can be found out."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", None) == number and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return ""
