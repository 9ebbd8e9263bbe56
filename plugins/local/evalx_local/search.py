"""Finding what runs have left on this machine, where no state knows of it: by the marks in the environment of processes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from evalx.model import Found
from evalx_local.processes import environment

if TYPE_CHECKING:
    import psutil

_KIND = re.compile(r"evalx-[a-z0-9]+-([et])\d+")


def find_all() -> list[Found]:
    """Every server and task of this user's runs that has a process, once each, in order."""
    import psutil

    found: dict[str, Found] = {}
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):  # gone by now, or another user's
            marks = _marks(pid)
            name, run_id = marks.get("EVALX_RESOURCE", ""), marks.get("EVALX_RUN", "")
            kind = _KIND.match(name)
            if kind is None or not run_id or pid == os.getpid():
                continue
            process = psutil.Process(pid)
            started, before = process.create_time(), found.get(name)
            if before is None or before.created is None or started < before.created:
                mine, user = process.uids().real == os.getuid(), _user(process)
                word, state = "endpoint" if kind[1] == "e" else "task", f"in use by process {user}" if user else "running"
                found[name] = Found(run_id, word, name, state, process.username(), mine and user is None, started)
    return [found[name] for name in sorted(found)]


def _user(process: psutil.Process) -> int | None:
    """The evalx process that started it, if that lives: then the run goes on, maybe with its state in another folder."""
    parent = process.parent()
    if parent is None or parent.pid == os.getpid() or not any("evalx" in Path(word).name for word in parent.cmdline()[:3]):
        return None
    return parent.pid


def _marks(pid: int) -> dict[str, str]:
    entries = environment(pid).decode("utf-8", "replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry.startswith("EVALX_") and "=" in entry)
