"""Jobs as processes that outlive evalx and that any evalx process can find again.

A job is the leader of a session of its own, so no signal meant for evalx reaches it. Its leader is a constant shell script that runs
the command and writes down its exit code, since only a parent can wait for a process and the parent may be gone by then. A process
is known to be ours by pid *and* start time (pids are used again), by the `EVALX_RESOURCE` in its environment, which children inherit,
or by writing to the job's log: some servers overwrite their workers' environment with a title, and such a worker outlives a server
that was killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from evalx import failpoints
from evalx.model import Json
from evalx.processes import identity
from evalx_local.ports import Port
from evalx_local.runtime import Job, Place, Status

if TYPE_CHECKING:
    import psutil

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

SCRIPT = """
trap : HUP INT TERM
exit_code=$1
cd -- "$2" && shift 2 && "$@"
printf '%-3d\n' $? 1<> "$exit_code.part" && mv -- "$exit_code.part" "$exit_code"
"""
"""Runs a command and writes its exit code into a file that has its room on the disk already, whatever the command has filled. The trap
lets the shell live on until the command has ended; the command itself gets the signals' defaults back."""

SHELL = ("/bin/bash", "-p") if Path("/bin/bash").exists() else ("/bin/sh",)
"""bash rather than sh, which drops variables whose names have dots; -p, since BASH_ENV is not meant for this shell."""

PORT_LOCK = 9
"""File descriptor under which a job inherits the lock on its port."""

EXEC_PAUSE = 0.001
EXEC_TRIES = 5
"""While a process becomes another program (exec), it seems for a moment to have no environment: how long to wait, and how often."""

SAME_START = 2.0
"""Seconds by which the start time of one process may seem to differ between two looks, when the clock is being set."""


@define
class _Stop:
    """A job that is being stopped. seen: every process of it so far, so that none is lost when its session's leader goes first."""

    asked: float
    seen: set[psutil.Process] = field(factory=set)
    killed: bool = False


class ProcessRuntime:
    """Runs jobs as processes of the user, with the user's environment."""

    def __init__(self) -> None:
        self._stops: dict[str, _Stop] = {}

    def find(self, place: Place) -> Json | None:
        if not place.started.exists():
            return None
        running = None if place.exit_code.exists() else _running(place.name)
        # Read after looking for the process: it may have ended between the two.
        return {"spec": place.started.read_text()} if running is None and place.exit_code.exists() else running

    def start(self, place: Place, job: Job, port: Port) -> Json:
        import psutil

        marks = {**job.marks, "EVALX_PORT": str(port.number)}
        place.started.write_text(marks["EVALX_SPEC"])
        Path(f"{place.exit_code}.part").write_text(" " * 3 + "\n")
        process = psutil.Process(_spawn(place, job, {**os.environ, **job.env, **marks}, port))
        data = _data(process, marks["EVALX_SPEC"], port.number)
        while _is_alive(process) and not environment(process.pid):
            time.sleep(EXEC_PAUSE)  # once this returns, the job must be found by name
        return data

    def poll(self, place: Place, data: Json) -> Status:
        over = place.exit_code.exists()
        running = not over and (_leader(data) is not None if "pid" in data else bool(_processes(place.name, log=place.log)))
        # Read after looking for the process: it may have ended between the two.
        code = None if running else _read_int(place.exit_code)
        return Status(running, code, _modified(place.started), _modified(place.exit_code))

    def stop(self, place: Place, data: Json) -> bool:
        stop = self._stops.setdefault(place.name, _Stop(time.monotonic()))
        first = not stop.seen
        stop.seen.update(_processes(place.name, _leader(data), place.log))
        alive = [process for process in stop.seen if _is_alive(process)]
        if not alive:
            self._stops.pop(place.name, None)
            return True
        if first or (time.monotonic() - stop.asked > GRACE):
            failpoints.reach("executor.delete.before")
            _signal(alive, signal.SIGTERM if first else signal.SIGKILL)
            failpoints.reach("executor.delete.after")
        return False


def _spawn(place: Place, job: Job, env: Mapping[str, str], port: Port) -> int:
    """Start the script. posix_spawn, since subprocess would warn of every process that is meant to outlive its object."""
    return os.posix_spawn(
        SHELL[0],
        [*SHELL, "-c", SCRIPT, "evalx-job", str(place.exit_code), str(job.workdir), *job.argv],
        env,
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(place.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, port.lock, PORT_LOCK),
        ],
    )


def _data(process: psutil.Process, spec: str, port: int) -> Json:
    return {"pid": process.pid, "birth": identity(process.pid), "started": process.create_time(), "spec": spec, "port": port}


def _running(name: str) -> Json | None:
    """The data of the job of that name, if it is alive."""
    import psutil

    leaders = [process for process in _processes(name) if _is_session_leader(process)]
    with suppress(psutil.NoSuchProcess, KeyError, ValueError):  # it ends just now
        oldest = min(leaders, key=lambda process: process.create_time())
        marks = oldest.environ()
        return _data(oldest, marks["EVALX_SPEC"], int(marks["EVALX_PORT"]))
    return None


def _leader(data: Json) -> psutil.Process | None:
    """The process that the data describe, if it is alive; reaped if it is our own child and has ended."""
    import psutil

    with suppress(psutil.NoSuchProcess, KeyError):
        process = psutil.Process(data["pid"])
        if _is_alive(process) and _is_the_same(process, data):
            return process
    return None


def _is_the_same(process: psutil.Process, data: Json) -> bool:
    """By its birth, which stays when the clock is set; runs of older versions of evalx only know its time."""
    if data.get("birth"):
        return bool(identity(process.pid) == data["birth"])
    return bool(abs(process.create_time() - data["started"]) < SAME_START)


def _processes(name: str, leader: psutil.Process | None = None, log: Path | None = None) -> list[psutil.Process]:
    """Live processes that carry the resource's name in their environment, belong to the leader's session, or write to the log."""
    import psutil

    mark, file = f"EVALX_RESOURCE={name}".encode(), _file(log) if log else None
    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):  # gone by now, or another user's
            if _belongs(pid, mark, leader, file) and _is_alive(process := psutil.Process(pid)):
                found.append(process)
    return found


def _belongs(pid: int, mark: bytes, leader: psutil.Process | None, log: tuple[int, int] | None) -> bool:
    if pid == os.getpid():
        return False
    if leader is not None and os.getsid(pid) == leader.pid:
        return True
    if mark in environment(pid).split(b"\0"):
        return True
    return log is not None and log in (_file(Path(f"/proc/{pid}/fd/1")), _file(Path(f"/proc/{pid}/fd/2")))


def _file(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever it is called."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def environment(pid: int) -> bytes:
    """The variables of a process. Not by psutil, which would take five times as long: every process of the machine is asked."""
    for _ in range(EXEC_TRIES):
        try:
            found = Path(f"/proc/{pid}/environ").read_bytes()
        except ProcessLookupError:  # as of a zombie or a part of the kernel
            return b""
        if found:
            return found
        time.sleep(EXEC_PAUSE)
    return b""


def _has_memory(pid: int) -> bool:
    """Not so for zombies and the kernel's own processes, which never have an environment."""
    return not Path(f"/proc/{pid}/statm").read_text().startswith("0 ")


def _is_session_leader(process: psutil.Process) -> bool:
    with suppress(OSError):
        return os.getsid(process.pid) == process.pid
    return False


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        if not process.is_running() or process.status() != psutil.STATUS_ZOMBIE:
            return process.is_running()
    except psutil.NoSuchProcess:
        return False
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return False


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text(errors="replace")[:4])
    except (FileNotFoundError, ValueError):  # a task can write there, too
        return None


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
