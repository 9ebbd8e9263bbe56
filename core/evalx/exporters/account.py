"""The account of a run that exporters are given: everything that is known of it, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from evalx.model import Json, Metric, Outcome, RunPlan, TaskResult, TaskSpec
from evalx.redaction import redacted


@frozen
class RunAccount:
    """A run, to be read.

    plan: as it was planned; environment variables in it are references. results: one per task that has ended, by the task's index, in
    its newest attempt. condition: `running`, `interrupted`, or how it ended: `succeeded`, `partial`, `failed`, `cancelled`, `timed out`.
    manifest: what `manifest.json` says: versions, commit, times; empty if there is none. directory: the run's folder with logs and
    result files, to be read only.

    Values of environment variables that look like secrets do not occur in it, whatever a harness has written.
    """

    plan: RunPlan
    results: tuple[TaskResult, ...]
    condition: str
    directory: Path
    manifest: Json = field(factory=dict)

    @property
    def run_id(self) -> str:
        return self.plan.run_id

    @property
    def over(self) -> bool:
        """Whether the run has come to an end."""
        return self.condition not in ("running", "interrupted")

    @property
    def complete(self) -> bool:
        """Whether every task has a score."""
        return bool(self.plan.tasks) and all(result and result.outcome is Outcome.PASSED for _, result in self.tasks())

    @property
    def updated(self) -> float:
        """When the newest result came, or when the run was planned: seconds since the epoch."""
        return max([result.ended for result in self.results if result.ended is not None], default=self.plan.created)

    def tasks(self) -> Iterator[tuple[TaskSpec, TaskResult | None]]:
        """Every planned task in order, with its result if it has ended."""
        ended = {result.spec.index: result for result in self.results}
        for spec in self.plan.tasks:
            yield spec, ended.get(spec.index)

    def scores(self) -> Iterator[tuple[TaskSpec, Metric]]:
        """Every score. A task that did not pass has none."""
        for spec, result in self.tasks():
            for metric in result.metrics if result is not None and result.outcome is Outcome.PASSED else ():
                yield spec, metric

    def model(self, task: TaskSpec) -> str:
        """The name of the model that the task asks."""
        return self.plan.endpoint(task.endpoint).model


def account_of(plan: RunPlan, directory: Path, results: Sequence[TaskResult], condition: str) -> RunAccount:
    """The account of a run, with secrets taken out. condition: as in RunAccount."""
    from evalx.serial import from_json, to_json

    return RunAccount(
        plan=from_json(RunPlan, redacted(to_json(plan))),
        results=tuple(from_json(TaskResult, redacted(to_json(result))) for result in sorted(results, key=lambda one: one.spec.index)),
        condition=condition,
        directory=directory,
        manifest=redacted(_manifest(directory)),
    )


def _manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
