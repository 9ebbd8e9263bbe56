"""What several exporters say of a run, in one form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from evalx.exporters.account import RunAccount
from evalx.model import TaskResult, TaskSpec

NOT_RUN = "not_run"
"""Stands for the outcome of a task that has not ended."""


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def outcome(result: TaskResult | None) -> str:
    """How a task ended, or that it has not."""
    return NOT_RUN if result is None else result.outcome.value


def seconds(result: TaskResult | None) -> float | None:
    """How long a task took."""
    if result is None or result.started is None or result.ended is None:
        return None
    return round(max(0.0, result.ended - result.started), 3)


def counted(run: RunAccount) -> tuple[int, int]:
    """How many tasks have a score, of how many."""
    outcomes = [outcome(result) for _, result in run.tasks()]
    return outcomes.count("passed"), len(outcomes)


def described(spec: TaskSpec) -> dict[str, Any]:
    """What was asked, without environment and commands."""
    options = spec.options
    return {
        "task": options.get("task") or spec.name,
        "suite": options.get("suite"),
        "harness": spec.harness,
        "container": options.get("container"),
        "endpoint_type": options.get("endpoint_type"),
        "params": options.get("params") or {},
        "overrides": options.get("overrides") or {},
    }
