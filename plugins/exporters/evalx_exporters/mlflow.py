"""`--to mlflow`: a run of MLflow for each run of evalx."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from evalx.config import setting
from evalx.exporters import Destination, RunAccount
from evalx.exporters.facts import outcome
from evalx_exporters.names import fitting, numbers

RUN_TAG = "evalx.run_id"
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""What evalx sets where the user's environment does not: MLflow itself would wait for many minutes, and tell its makers about it."""

_BATCH = 900
_LONGEST_TAG = 1000


def _no_password(_options: Any, attribute: Any, value: str | None) -> None:
    if value and (urlsplit(value).password or urlsplit(value).username):
        raise ValueError("must not hold a user name or password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD", attribute)


@frozen(kw_only=True)
class MlflowOptions:
    """Where MLflow is, and what the run is called there."""

    tracking_uri: str | None = setting(
        None,
        help="The tracking server, or `sqlite:///FILE`; without it what MLflow itself takes ($MLFLOW_TRACKING_URI).",
        validator=_no_password,
    )
    experiment: str = setting("evalx", help="Name of the experiment; made if it is not there.")
    run_name: str | None = setting(None, help="Name of the run; without it, `evalx` and the run's id.")


class MlflowExporter:
    """A run in an MLflow experiment: scores as metrics `task/metric`, with `_stderr` and `_n` beside them; outcomes as tags."""

    evalx_api = (1, 0)
    Options = MlflowOptions
    file_name = None
    requires = {"mlflow": "evalx[mlflow]"}  # noqa: RUF012 -- a constant, and of the form that the contract names

    def export(self, run: RunAccount, destination: Destination, options: MlflowOptions) -> str:  # noqa: ARG002
        """Make the run, or bring up to date the one that an earlier export made; returns where it is."""
        for name, value in PATIENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        client = MlflowClient(options.tracking_uri)
        experiment = _experiment(client, options.experiment)
        run_id = _run(client, experiment, run, options)
        _log(client, run_id, run)
        if run.over:
            client.set_terminated(run_id, _status(run), end_time=_ms(run.updated))
        return f"run {run_id} of experiment {options.experiment} ({client.tracking_uri})"


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _run(client: Any, experiment: str, run: RunAccount, options: MlflowOptions) -> str:
    earlier = client.search_runs([experiment], filter_string=f"tags.`{RUN_TAG}` = '{run.run_id}'", max_results=1)
    if earlier:
        return str(earlier[0].info.run_id)
    name = options.run_name or f"evalx {run.run_id}"
    made = client.create_run(experiment, start_time=_ms(run.plan.created), tags={RUN_TAG: run.run_id}, run_name=name)
    return str(made.info.run_id)


def _log(client: Any, run_id: str, run: RunAccount) -> None:
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(name, value, when, 0) for name, value, when in _metrics(run)]
    params = [Param(name, value) for name, value in _params(run)]
    tags = [RunTag(name, value[:_LONGEST_TAG]) for name, value in _tags(run)]
    client.log_batch(run_id, params=params)
    for some in _batches(metrics, _BATCH):
        client.log_batch(run_id, metrics=some)
    for some in _batches(tags, 90):
        client.log_batch(run_id, tags=some)


def _metrics(run: RunAccount) -> Iterator[tuple[str, float, int]]:
    ended = {spec.name: _ms(result.ended or run.updated) for spec, result in run.tasks() if result}
    found = []
    for spec, metric in run.scores():
        for parts, value in numbers(spec.name, metric):
            found.append((parts, float(value), ended[spec.name]))
    for name, (_, value, when) in zip(fitting(parts for parts, _, _ in found), found, strict=True):
        yield name, value, when


def _params(run: RunAccount) -> Iterator[tuple[str, str]]:
    """What never changes in a run: MLflow refuses to set a parameter anew."""
    yield "executor", run.plan.executor
    yield "model", ", ".join(dict.fromkeys(endpoint.model for endpoint in run.plan.endpoints))[:_LONGEST_TAG]
    yield "deployment", ", ".join(dict.fromkeys(endpoint.variant for endpoint in run.plan.endpoints))
    yield "harness", ", ".join(dict.fromkeys(task.harness for task in run.plan.tasks))


def _tags(run: RunAccount) -> Iterator[tuple[str, str]]:
    yield "evalx.condition", run.condition
    tasks = list(run.tasks())
    for name, (_, result) in zip(fitting((spec.name,) for spec, _ in tasks), tasks, strict=True):
        reason = f": {result.reason}" if result and result.reason else ""
        yield f"evalx.outcome.{name}", f"{outcome(result)}{reason}"


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _status(run: RunAccount) -> str:
    if run.complete:
        return "FINISHED"
    return "KILLED" if run.condition == "cancelled" else "FAILED"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
