"""How far running jobs are: n of N samples, where the harness can tell it from the end of a log.

A log is a call of its own, which no listing answers. So the run asks for one in a while, whatever the number of its jobs, and each job has
its turn; in between counts what was read last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from evalx.errors import EvalxError
from evalx.model import TaskSpec
from evalx_lepton.sdk import Workspace
from evalx_lepton.views import Job

if TYPE_CHECKING:
    from evalx.context import RunContext

EVERY, GAP = 6.0, 3.0
"""Seconds from a job's beginning to its first look, and at least between two of them; and between any two looks of the run."""

LINES = 50
"""How much of a log's end is looked at."""


class Progress:
    """Of the jobs of one run. Any number of threads may ask."""

    def __init__(self, run: RunContext, workspace: Callable[[], Workspace]) -> None:
        self._run = run
        self._workspace = workspace
        self._lock = threading.Lock()
        self._last = float("-inf")
        self._due: dict[str, float] = {}
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, task: TaskSpec, job: Job) -> tuple[int, int] | None:
        """Samples done of how many in all, as far as that is known of a running job."""
        read = getattr(self._run.plugins.harness(task.harness), "progress", None)
        if read is None:
            return None
        if self._has_its_turn(job.id):
            with suppress(EvalxError):  # it is nice to know; the job goes on without
                if found := read(self._workspace().log_tail("job", job.id, LINES)):
                    self._known[job.id] = found
        return self._known.get(job.id)

    def forget(self, job: Job) -> None:
        """It does not run any more."""
        with self._lock:
            self._due.pop(job.id, None)
            self._known.pop(job.id, None)

    def _has_its_turn(self, job_id: str) -> bool:
        with self._lock:
            now = time.monotonic()
            due = self._due.setdefault(job_id, now + EVERY)
            if now < due or now - self._last < GAP:
                return False
            self._last = now
            self._due[job_id] = now + max(EVERY, GAP * len(self._due))
            return True
