"""`evalx logs`: what an endpoint or a job prints, now or then."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from evalx.errors import EvalxError
from evalx.model import Handle, TaskHandle
from evalx_lepton.frames import MARKER
from evalx_lepton.harvest import live_lines, pages
from evalx_lepton.problems import NotFound
from evalx_lepton.sdk import Workspace
from evalx_lepton.states import Phase, endpoint_phase, job_phase

if TYPE_CHECKING:
    from evalx.context import RunContext

MAX_AGE = 30 * 24 * 3600
"""Seconds that the history is asked for, where it is not known when the resource was created."""

REPLICA_PAUSE = 1.0
FOLLOW_IDLE = 3600.0

_OVER = {Phase.OVER, Phase.FAILED, Phase.STOPPED, Phase.GOING, Phase.GONE}


def lines(run: RunContext, workspace: Workspace, handle: Handle, follow: bool, since: float | None = None) -> Iterator[str]:
    """Its log, without the frames of results. follow: go on until it is over, or the run is being stopped.

    since: from then on (seconds since the epoch, by the workspace's clock). A live log bears no times: of it, what the history does not yet
    have counts as new.
    """
    kind, name = _what(workspace, handle)
    if name is None:
        return
    source = _following(run, workspace, kind, name, since) if follow else _past(workspace, kind, name, since)
    yield from (line for line in source if MARKER not in line)


def _what(workspace: Workspace, handle: Handle) -> tuple[str, str | None]:
    """`job` or `endpoint`, and its id there."""
    if not isinstance(handle, TaskHandle):
        return "endpoint", handle.resource if handle.owned else None
    if job_id := handle.data.get("id"):
        return "job", str(job_id)
    named = workspace.jobs(handle.resource, archived=True).named(handle.resource)
    return "job", named[0].id if named else None


def _past(workspace: Workspace, kind: str, name: str, since: float | None) -> Iterator[str]:
    """The history; where there is none, what the replicas still show."""
    found = False
    for moment, text in _history(workspace, kind, name):
        found = True
        if since is None or moment >= since * 10**9:
            yield text
    if not found:
        for replica in _replicas(workspace, kind, name):
            yield from live_lines(workspace, kind, name, replica)


def _history(workspace: Workspace, kind: str, name: str) -> Iterator[tuple[int, str]]:
    """All lines that the platform has kept, with their times."""
    with suppress(NotFound):
        for page in pages(workspace, kind, name, int((workspace.now() - MAX_AGE) * 10**9)):
            yield from page


def _replicas(workspace: Workspace, kind: str, name: str) -> list[str]:
    try:
        return workspace.replicas(kind, name)
    except NotFound:
        return []


def _following(run: RunContext, workspace: Workspace, kind: str, name: str, since: float | None) -> Iterator[str]:
    """The live log of the newest replica; of one that is over, the history."""
    while not _is_over(workspace, kind, name) and not run.stopping.is_set():
        if replicas := _replicas(workspace, kind, name):
            old = _older(workspace, kind, name, since) if since is not None and len(replicas) == 1 else 0
            yield from islice(_interruptible(run, live_lines(workspace, kind, name, replicas[-1], FOLLOW_IDLE)), old, None)
            return
        run.stopping.wait(REPLICA_PAUSE)
    if not run.stopping.is_set():
        yield from _past(workspace, kind, name, since)


def _older(workspace: Workspace, kind: str, name: str, since: float) -> int:
    """With how many lines, written before that moment, a live log begins, as it does with the first line that the replica wrote."""
    return sum(moment < since * 10**9 for moment, _ in _history(workspace, kind, name))


def _is_over(workspace: Workspace, kind: str, name: str) -> bool:
    if kind == "job":
        job = workspace.job(name)
        return job is None or job_phase(job.state) in _OVER
    endpoint = workspace.endpoint(name)
    return endpoint is None or endpoint_phase(endpoint.state) in _OVER


def _interruptible(run: RunContext, source: Iterator[str]) -> Iterator[str]:
    """The lines of a source that may be silent for long, until it ends or the run is being stopped. It is read in a thread."""
    waiting: queue.Queue[str | None] = queue.Queue(maxsize=1000)
    gone = threading.Event()

    def read() -> None:
        try:
            for line in source:
                while not gone.is_set():
                    try:
                        waiting.put(line, timeout=0.5)
                        break
                    except queue.Full:
                        continue
                if gone.is_set():
                    return
        except EvalxError:
            pass  # it was deleted meanwhile: that is its end
        waiting.put(None)

    threading.Thread(target=read, daemon=True, name="evalx-lepton-log").start()
    try:
        while not run.stopping.is_set():
            try:
                line = waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                return
            yield line
    finally:
        gone.set()
