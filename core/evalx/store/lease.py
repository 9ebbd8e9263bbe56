"""Who owns a run: one live process, known by pid, start time and machine, fenced so that a former owner can write nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
from functools import cache
from pathlib import Path

from attrs import frozen

from evalx.errors import RunBusy

_STAT_FLAGS, _EXITING = 6, 0x4
"""In /proc/PID/stat after the name: which field has the kernel's flags of the process, and the flag PF_EXITING (linux/sched.h)."""

HEARTBEAT_LIMIT = 120.0
"""Seconds after its last heartbeat in which a process that cannot be seen from here counts as alive."""


@frozen
class Holder:
    """The process that owns a run. started: when, in seconds since the epoch. local: alive was seen, not inferred from its heartbeat.
    stopped: it is alive, but held by SIGSTOP (or Ctrl-Z), and does nothing until it is continued."""

    pid: int
    host: str
    started: float
    alive: bool
    local: bool
    stopped: bool = False


def acquire(db: sqlite3.Connection, run_id: str, now: float) -> int:
    """Make this process the owner and return the new fence; within a transaction. Raises RunBusy if another one may be alive."""
    row = _row(db, run_id)
    current = holder(row, now)
    if current is not None and current.alive:
        raise _busy(run_id, current)
    fence = row["fence"] + 1 if row else 1
    mine = (fence, os.getpid(), _started(), _birth(os.getpid()), os.uname().nodename, _machine(), now)
    db.execute(
        "REPLACE INTO leases (run_id, fence, pid, started, birth, host, machine, heartbeat) VALUES (?,?,?,?,?,?,?,?)", (run_id, *mine)
    )
    return fence


def hold(db: sqlite3.Connection, run_id: str, fence: int, now: float) -> None:
    """Renew the lease, within the transaction whose writes it protects. Raises RunBusy if it was taken over."""
    renewed = db.execute("UPDATE leases SET heartbeat = ? WHERE run_id = ? AND fence = ? AND pid IS NOT NULL", (now, run_id, fence))
    if renewed.rowcount != 1:
        current = holder(_row(db, run_id), now)
        by = f" by process {current.pid} on {current.host}" if current else ""
        raise RunBusy(f"run {run_id} was taken over{by}", f"evalx status {run_id}")


def release(db: sqlite3.Connection, run_id: str, fence: int) -> None:
    """Give the run up; nothing happens if another process has it already."""
    db.execute("UPDATE leases SET pid = NULL WHERE run_id = ? AND fence = ?", (run_id, fence))


def holder(row: sqlite3.Row | None, now: float) -> Holder | None:
    """The owner that a row of `leases` names; None if the lease was released. What cannot be known counts as alive."""
    if row is None or row["pid"] is None:
        return None
    local = row["machine"] == _machine()
    alive = _birth(row["pid"]) == row["birth"] if local else now - row["heartbeat"] <= HEARTBEAT_LIMIT
    return Holder(row["pid"], row["host"], row["started"], alive, local, stopped=alive and local and _is_stopped(row["pid"]))


def _row(db: sqlite3.Connection, run_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM leases WHERE run_id = ?", (run_id,)).fetchone()
    return row


def _busy(run_id: str, current: Holder) -> RunBusy:
    if current.local and current.pid == os.getpid():
        return RunBusy(f"run {run_id} is already open in this process", "close its journal first")
    if current.stopped:
        hint = f"kill -CONT {current.pid} lets it go on; evalx cancel {run_id} ends it"
        return RunBusy(f"run {run_id} is owned by process {current.pid}, which is alive, but stopped (by SIGSTOP or Ctrl-Z)", hint)
    if current.local:
        return RunBusy(f"run {run_id} is owned by process {current.pid}, which is alive", f"wait for it, or: evalx cancel {run_id}")
    return RunBusy(
        f"run {run_id} is owned by process {current.pid} on {current.host}, which was alive less than {HEARTBEAT_LIMIT:g} s ago",
        f"there: evalx cancel {run_id}; if that process is gone, try again in {HEARTBEAT_LIMIT:g} s",
    )


def identity(pid: int) -> str | None:
    """What tells a live process from every other one, on whatever machine and after whatever restart; None if there is none."""
    birth = _birth(pid)
    return None if birth is None else f"{_machine()} {birth}"


@cache
def _machine() -> str:
    """What a pid is unique in: this boot of this kernel, and the namespace of pids (a container has its own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _birth(pid: int) -> str | None:
    """What tells a process from a later one with the same pid; None if there is none, or only a zombie.

    The kernel's count of ticks since boot, unlike a time of day, does not move when the clock is set.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _birth_elsewhere(pid)
    return None if state in "ZX" else fields[18]


def is_dying(pid: int) -> bool:
    """Whether the process was killed and is not gone yet; True where that cannot be told."""
    try:
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_STAT_FLAGS])
        status = Path(f"/proc/{pid}/status").read_text()
    except (OSError, ValueError, IndexError):
        return True
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
    return bool(flags & _EXITING) or any(mask >> (signal.SIGKILL - 1) & 1 for mask in pending)


def _is_stopped(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _birth_elsewhere(pid: int) -> str | None:
    """The same on systems without /proc."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def _started() -> float:
    import psutil

    return psutil.Process().create_time()
