"""What the platform's states mean for a run. Total: a state that is not listed counts as unknown, and is asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    """What a state means for what waits for it."""

    WAITING = "waiting"
    UP = "up"
    OVER = "over"
    FAILED = "failed"
    STOPPED = "stopped"
    GOING = "going"
    GONE = "gone"
    UNKNOWN = "unknown"


ENDPOINT: Mapping[str, Phase] = {
    "Ready": Phase.UP,
    "Not Ready": Phase.WAITING,
    "Starting": Phase.WAITING,
    "Updating": Phase.WAITING,
    "Scaling": Phase.WAITING,
    "Migrating": Phase.WAITING,
    "Restarting": Phase.WAITING,
    "Stopping": Phase.STOPPED,
    "Stopped": Phase.STOPPED,
    "Deleting": Phase.GOING,
    "Error": Phase.FAILED,
    "UNK": Phase.UNKNOWN,
}
"""State of an endpoint → its meaning. Stopped counts as an end: nothing scales up from zero by itself."""

JOB: Mapping[str, Phase] = {
    "Awaiting": Phase.WAITING,
    "Queueing": Phase.WAITING,
    "Starting": Phase.WAITING,
    "Restarting": Phase.WAITING,
    "PendingRetry": Phase.WAITING,
    "Running": Phase.UP,
    "Stopping": Phase.UP,
    "Terminating": Phase.UP,
    "Completed": Phase.OVER,
    "Failed": Phase.FAILED,
    "Stopped": Phase.STOPPED,
    "Deleting": Phase.GOING,
    "Deleted": Phase.GONE,
    "Archived": Phase.GONE,
    "UNK": Phase.UNKNOWN,
}
"""State of a job → its meaning. A job that is stopping still holds its result back until it has ended."""

READINESS: Mapping[str, Phase] = {
    "Ready": Phase.UP,
    "InProgress": Phase.WAITING,
    "Queueing": Phase.WAITING,
    "NoCapacity": Phase.WAITING,
    "RequireReadinessApproval": Phase.WAITING,
    "SystemError": Phase.WAITING,
    "Deleting": Phase.GOING,
    "Deleted": Phase.GONE,
    "ConfigError": Phase.FAILED,
    "Unknown": Phase.UNKNOWN,
}
"""Reason of a replica that is not ready → its meaning. FAILED is hopeless; a system error may pass."""

CRASHING = "Crashing"
"""Reason for an endpoint whose container keeps ending; evalx's own word."""

UNHEARD_OF = "the platform shows a state that this leptonai does not know"

HOPELESS = (
    *("imagepullbackoff", "errimagepull", "invalidimagename", "errimageneverpull", "failed to pull image", "pull access denied"),
    "createcontainerconfigerror",
)
"""What platforms say, in reasons, messages and events, when an image cannot be had or a container cannot be made."""


def endpoint_phase(state: str) -> Phase:
    return ENDPOINT.get(state, Phase.UNKNOWN)


def job_phase(state: str) -> Phase:
    return JOB.get(state, Phase.UNKNOWN)


def is_hopeless(reason: str, message: str) -> bool:
    """Whether a replica's reason will not pass by itself."""
    said = f"{reason} {message}".lower()
    return reason == CRASHING or READINESS.get(reason) is Phase.FAILED or any(trouble in said for trouble in HOPELESS)
