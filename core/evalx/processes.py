"""Processes of this machine: what tells one from every other, and how it is doing. Standard library and psutil only."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path

_STAT_FLAGS, _EXITING = 6, 0x4
"""In /proc/PID/stat after the name: which field has the kernel's flags of the process, and the flag PF_EXITING (linux/sched.h)."""


def identity(pid: int) -> str | None:
    """What tells a live process from every other one, on whatever machine and after whatever restart; None if there is none."""
    born = birth(pid)
    return None if born is None else f"{machine()} {born}"


@cache
def machine() -> str:
    """What a pid is unique in: this boot of this kernel, and the namespace of pids (a container has its own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def birth(pid: int) -> str | None:
    """What tells a process from a later one with the same pid; None if there is none, or only a zombie.

    The kernel's count of ticks since boot, unlike a time of day, does not move when the clock is set.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else birth_elsewhere(pid)
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


def is_stopped(pid: int) -> bool:
    """Whether the process is held by SIGSTOP, or Ctrl-Z."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def birth_elsewhere(pid: int) -> str | None:
    """The same on systems without /proc."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def started() -> float:
    """When this process was started, in seconds since the epoch."""
    import psutil

    return psutil.Process().create_time()
