"""`--to json`: everything that is known of a run's results, in one document."""

from __future__ import annotations

import json
from typing import Any

from evalx.exporters.account import RunAccount
from evalx.exporters.api import NoOptions
from evalx.exporters.destination import Destination
from evalx.exporters.facts import described, iso, outcome, seconds
from evalx.model import TaskResult, TaskSpec
from evalx.serial import to_json

SCHEMA = 1
"""Version of the document; grows when a reader would have to change."""

_VERSIONS = ("evalx", "python", "platform", "plugins", "config_sha256", "git_commit")


class JsonExporter:
    """One JSON document: the run, each task with what was asked of it, its outcome, scores and files, and the versions."""

    evalx_api = (1, 0)
    Options = NoOptions
    file_name = "results.json"

    def export(self, run: RunAccount, destination: Destination, options: NoOptions) -> None:  # noqa: ARG002
        """Write the document."""
        destination.write(json.dumps(_document(run), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _document(run: RunAccount) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "executor": run.plan.executor,
        "condition": run.condition,
        "created": iso(run.plan.created),
        "tasks": [_task(run, spec, result) for spec, result in run.tasks()],
        "versions": {key: run.manifest.get(key) for key in _VERSIONS},
    }


def _task(run: RunAccount, spec: TaskSpec, result: TaskResult | None) -> dict[str, Any]:
    endpoint = run.plan.endpoint(spec.endpoint)
    return {
        "name": spec.name,
        "model": endpoint.model,
        "deployment": endpoint.variant,
        **described(spec),
        "outcome": outcome(result),
        "reason": result.reason if result else None,
        "started": iso(result.started) if result else None,
        "ended": iso(result.ended) if result else None,
        "seconds": seconds(result),
        "metrics": [to_json(metric) for one, metric in run.scores() if one is spec],
        "artifacts": [to_json(artifact) for artifact in result.artifacts] if result else [],
    }
