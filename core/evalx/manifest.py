"""The manifest of a run: what exactly was run, with which versions, so that a score can be traced and repeated."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import evalx
from evalx import catalog, failpoints
from evalx.context import RunContext
from evalx.datasets import datasets
from evalx.errors import StoreError
from evalx.model import TaskResult
from evalx.redaction import without_literals
from evalx.serial import to_json

SCHEMA = 1


def write_manifest(run: RunContext, config_text: str | None, results: Sequence[TaskResult] = ()) -> None:
    """Write `manifest.json` of the run directory; without config_text, complete the one that is there with the results' times.

    If there is none (evalx was killed before it was written), it is made from what the run directory still knows.

    Raises StoreError if it cannot be written.
    """
    path = run.directory / "manifest.json"
    try:
        manifest = _beginning(run, config_text) if config_text is not None else _begun(run, path)
        manifest["tasks_ended"] = [_ending(result) for result in results]
        partial = path.with_suffix(".tmp")
        partial.write_text(without_literals(json.dumps(manifest, indent=1)) + "\n")
        failpoints.reach("manifest.written")
        partial.replace(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be written: {error}") from error


def _begun(run: RunContext, path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        # The commit was that of the folder evalx was started in, which may be another one by now.
        config = run.directory / "config.yaml"
        return {**_beginning(run, config.read_text(encoding="utf-8") if config.exists() else None), "git_commit": None}
    return manifest


def _beginning(run: RunContext, config_text: str | None) -> dict[str, Any]:
    plan = run.plan
    return {
        "schema": SCHEMA,
        "run_id": plan.run_id,
        "created": plan.created,
        "evalx": evalx.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executor": plan.executor,
        "plugins": [_plugin(info) for info in catalog.plugins() if info.name in _used(run)],
        "config_sha256": None if config_text is None else hashlib.sha256(without_literals(config_text).encode()).hexdigest(),
        "git_commit": _git_commit(),
        "argv0": Path(sys.argv[0]).name,
        "endpoints": [to_json(endpoint) for endpoint in plan.endpoints],
        "tasks": [to_json(task) for task in plan.tasks],
        "datasets": datasets(plan.tasks),
    }


def _plugin(info: catalog.PluginInfo) -> dict[str, str]:
    return {"group": info.group, "name": info.name, "value": info.value, "distribution": info.distribution, "version": info.version}


def _used(run: RunContext) -> set[str]:
    plan = run.plan
    exporters = (export.exporter for export in plan.exports)
    harnesses, variants = (task.harness for task in plan.tasks), (endpoint.variant for endpoint in plan.endpoints)
    return {plan.executor, *plan.plugins, *harnesses, *variants, *exporters}


def _ending(result: TaskResult) -> dict[str, Any]:
    return {
        "task": result.spec.name,
        "attempt": result.spec.attempt,
        "outcome": result.outcome.value,
        "started": result.started,
        "ended": result.ended,
        "artifacts": [to_json(artifact) for artifact in result.artifacts],
    }


def _git_commit() -> str | None:
    """The commit of the working directory, if it is in a git checkout and git is there."""
    command = ["git", "-C", os.curdir, "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
