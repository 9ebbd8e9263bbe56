"""Who looks after endpoints that are kept: a process of its own for each run, which deletes them when their time is over.

The process of the run starts it and ends with the scores; `evalx.runs.keep` is what it does. If it was killed, or the machine was
restarted, the next command of evalx starts another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO
from urllib.parse import quote

from evalx.errors import EvalxError, ExitCode
from evalx.places import DATABASE, state_directory
from evalx.reasons import in_words

REGISTERED = 120.0
"""Seconds that a keeper may take to register, on a machine that is busy."""


class NobodyKeeps(EvalxError):
    """Endpoints are kept, and the process that should delete them in time did not start."""

    exit_code = ExitCode.DIRTY


def start(run_id: str, directory: Path, heir_of: int | None = None) -> int:
    """Let a process of its own look after what the run keeps; returns its id once it owns the run. heir_of: the fence of this process, if
    it owns the run. Raises NobodyKeeps.
    """
    from evalx.store import Store

    log = directory / "evalx.log"
    with _appended(log) as out:
        # With a folder that is on no path, nothing there can pass for a part of evalx.
        argv = [sys.executable, "-P", "-m", "evalx.cli.keeper", run_id, *([str(heir_of)] if heir_of is not None else [])]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + REGISTERED
    with Store() as store:
        while (holder := store.holder(run_id)) is None or holder.pid != child.pid:
            code = child.poll()
            if code == 0:  # it has found nothing that is to be kept any longer
                return child.pid
            if code == ExitCode.BUSY and holder is not None and holder.alive and holder.pid != os.getpid():
                return holder.pid  # which another command has started
            if code is not None or time.monotonic() > deadline:
                child.kill()
                child.wait()
                raise NobodyKeeps(f"no process looks after what run {run_id} keeps: see {log}", f"evalx cleanup {run_id} deletes it")
            time.sleep(0.02)
    child.returncode = 0  # it is meant to outlive this object, of which subprocess would otherwise complain
    return child.pid


def _appended(log: Path) -> IO[str]:
    """The file that evalx's own words of a run are added to; nothing at all if it cannot be written."""
    try:
        return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "w")
    except OSError:
        return Path(os.devnull).open("w")


# ---------------------------------------------------------------------- those that are gone


def replace_missing(tell: Callable[[str], None], only: str | None = None) -> None:
    """Start a keeper for each run of this machine that keeps endpoints and has lost its own. tell: called with what the user should know.
    only: just for this run.

    Costs one look into the database if there is none. Nothing that goes wrong is raised: the next command tries again.
    """
    for run_id, directory in _without_keeper():
        if only not in (None, run_id):
            continue
        try:
            pid = start(run_id, directory)
        except EvalxError as error:
            tell(in_words(error))
        else:
            tell(f"run {run_id}: nobody looked after the endpoints that it keeps; process {pid} does so now (evalx status {run_id})")


def _without_keeper() -> list[tuple[str, Path]]:
    import sqlite3
    from contextlib import closing

    path = state_directory() / DATABASE
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.5)) as db:
            ids = [row[0] for row in db.execute("SELECT run_id FROM runs WHERE state = 'keeping'")]
    except sqlite3.Error:
        return []
    return _orphans(ids) if ids else []


def _orphans(ids: Iterable[str]) -> list[tuple[str, Path]]:
    from evalx.standing import is_alive
    from evalx.store import Store

    try:
        with Store() as store:
            records = [store.find(run_id) for run_id in ids]
            return [
                (record.run_id, record.directory) for record in records if record.state.value == "keeping" and not is_alive(store, record)
            ]
    except EvalxError:
        return []
