"""What nemo-evaluator-launcher has written down of its jobs: one JSON object a line, the last of a job counts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from evalx.errors import ConfigError

ENDED = frozenset({"killed", "failed", "succeeded", "cancelled"})


@frozen
class PastJob:
    """A job of the launcher. created: seconds since the epoch. endpoint: the Lepton endpoint that was deployed for it, if any.
    may_be_alive: nothing in the file says that this endpoint was deleted. config: what the job was made from, if it was kept."""

    job_id: str
    executor: str
    created: float
    task: str
    status: str
    endpoint: str | None
    lepton_job: str | None
    output_dir: str | None
    may_be_alive: bool
    config: Mapping[str, Any] | None


def default_path() -> Path:
    """Where the launcher keeps it: NEMO_EVALUATOR_EXEC_DB_FILE, or below the home folder."""
    given = os.environ.get("NEMO_EVALUATOR_EXEC_DB_FILE")
    return Path(given) if given else Path.home() / ".nemo-evaluator" / "exec-db" / "exec.v1.jsonl"


def past_jobs(path: Path) -> list[PastJob]:
    """All jobs, newest first; lines that are no records are passed over, as the launcher does. Raises ConfigError without such a file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        hint = "--exec-db FILE, if it is elsewhere; then NEMO_EVALUATOR_EXEC_DB_FILE said so"
        raise ConfigError(f"cannot read the launcher's jobs in '{path}': {error.strerror}", hint) from None
    found = {job.job_id: job for job in map(_job, lines) if job is not None}
    return sorted(found.values(), key=lambda job: -job.created)


def _job(line: str) -> PastJob | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("job_id"), str) or not isinstance(record.get("data", {}), dict):
        return None
    data, created = record.get("data", {}), record.get("timestamp")
    endpoint, status = _text(data.get("endpoint_name")), _text(data.get("status")) or "submitted"
    config = record.get("config")
    return PastJob(
        job_id=record["job_id"],
        executor=_text(record.get("executor")) or "?",
        created=float(created) if isinstance(created, int | float) else 0.0,
        task=_text(data.get("task_name")) or "",
        status=status,
        endpoint=endpoint,
        lepton_job=_text(data.get("lepton_job_name")),
        output_dir=_text(data.get("output_dir")),
        may_be_alive=endpoint is not None and status not in ENDED,
        config=config if isinstance(config, dict) and config else None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
