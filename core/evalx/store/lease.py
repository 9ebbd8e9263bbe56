"""Who owns a run: one live process, known by pid, start time and machine, fenced so that a former owner can write nothing."""

from __future__ import annotations

import os
import sqlite3

from attrs import frozen

from evalx import processes
from evalx.errors import RunBusy

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


def acquire(db: sqlite3.Connection, run_id: str, now: float, heir_of: int | None = None) -> int:
    """Make this process the owner and return the new fence; within a transaction. heir_of: the fence of an owner that wants this one to
    take over. Raises RunBusy if another one may be alive."""
    row = _row(db, run_id)
    current = holder(row, now)
    if current is not None and current.alive and (row is None or row["fence"] != heir_of):
        raise _busy(run_id, current)
    fence = row["fence"] + 1 if row else 1
    mine = (fence, os.getpid(), processes.started(), processes.birth(os.getpid()), os.uname().nodename, processes.machine(), now)
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
    local = row["machine"] == processes.machine()
    alive = processes.birth(row["pid"]) == row["birth"] if local else now - row["heartbeat"] <= HEARTBEAT_LIMIT
    return Holder(row["pid"], row["host"], row["started"], alive, local, stopped=alive and local and processes.is_stopped(row["pid"]))


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
