"""How long a task may still take: its time limit counts from when it runs, and what it waits for before that has a limit of its own."""

from __future__ import annotations

from evalx.context import Report


class Patience:
    """Of one task, on a monotonic clock in seconds. slack: by which the driver is more patient than the limit inside the task's command.

    timeout: of the task. queue: how long it may wait for the platform before it runs; None: its executor cannot tell, so its time counts
    from its submission. age: since it was submitted; ran: for how long it has been running, None if it has not been seen to run.
    """

    def __init__(self, now: float, timeout: float, queue: float | None, slack: float, *, age: float, ran: float | None) -> None:
        self._timeout, self._queue, self._slack = timeout, queue, slack
        self._running = queue is None or ran is not None
        spent = age if queue is None else ran or 0.0
        limit = max(timeout - spent, 0.0) + slack if self._running else max((queue or 0.0) - age, 0.0)
        self.deadline = now + limit

    @property
    def running(self) -> bool:
        """Whether its own time counts."""
        return self._running

    def hear(self, now: float, report: Report | None) -> bool:
        """Take in what was last said of the task; whether it has begun to run, or to run again."""
        queued = report.queued if report is not None else None
        if self._queue is None or queued is None or queued is not self._running:
            return False
        self._running = not queued
        self.deadline = now + (self._queue if queued else self._timeout + self._slack)
        return self._running

    @property
    def spent(self) -> str:
        """What is the matter when the time is up."""
        return "not over in time" if self._running else f"not started by the platform within {self._queue or 0.0:g} s"
