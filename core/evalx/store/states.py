"""The states of resources, tasks and runs. Every value the store holds is one of these; displays and exit codes are made from them."""

from __future__ import annotations

from enum import StrEnum


class ResourceState(StrEnum):
    """Something that costs money or a process: an endpoint, or the job of a task.

    INTENT is committed before the create call goes out; UNKNOWN: the call's answer never came; DEGRADED: it is there, but will not answer.
    KEPT: the run's tasks are over, and the user wants the endpoint for a while longer.
    GONE is proven, LEAK_SUSPECTED is the opposite: deletion could not be proven. What the platform says meanwhile (queueing, starting) are
    phases, told in progress events.
    """

    INTENT = "intent"
    CREATED = "created"
    UNKNOWN = "unknown"
    READY = "ready"
    KEPT = "kept"
    DEGRADED = "degraded"
    DELETING = "deleting"
    GONE = "gone"
    LEAK_SUSPECTED = "leak_suspected"

    @property
    def may_exist(self) -> bool:
        """Whether something may be alive at the backend under this resource's name."""
        return self is not ResourceState.GONE


class TaskState(StrEnum):
    PENDING = "pending"
    SUBMITTED = "submitted"
    RUNNING = "running"
    SCORED = "scored"
    NO_RESULT = "no_result"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    SKIPPED = "skipped"

    @property
    def final(self) -> bool:
        """Over, with a stored result."""
        return self in _FINAL_TASK_STATES


_FINAL_TASK_STATES = {
    TaskState.SCORED,
    TaskState.NO_RESULT,
    TaskState.FAILED,
    TaskState.TIMED_OUT,
    TaskState.CANCELLED,
    TaskState.LOST,
    TaskState.SKIPPED,
}


class RunState(StrEnum):
    """KEEPING: every task is over and its outcome stands, but endpoints are kept until a time that its event tells."""

    PLANNED = "planned"
    ACTIVE = "active"
    KEEPING = "keeping"
    CANCELLING = "cancelling"
    CLOSED = "closed"

    @property
    def settled(self) -> bool:
        """Whether what came of the tasks stands."""
        return self in (RunState.KEEPING, RunState.CLOSED)


class RunOutcome(StrEnum):
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class Cleanliness(StrEnum):
    """Whether anything may be left of a run at the backend."""

    CLEAN = "clean"
    DIRTY = "dirty"
    UNKNOWN = "unknown"
