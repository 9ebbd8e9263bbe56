"""From a config to a plan: every endpoint and task with its final name and options, before anything is created."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from evalx.config import Config, to_plain
from evalx.config.schema import Task
from evalx.config.tasks import NEMO_EVALUATOR, model_name, resolve_task, usual_types
from evalx.model import EndpointSpec, Json, Limits, RunPlan, TaskSpec

RUN_ID_LENGTH = 11
_LETTERS = string.ascii_lowercase
_BASE32 = _LETTERS + "234567"


def new_run_id() -> str:
    """11 characters, a letter first, that no other run has: 54 random bits."""
    return secrets.choice(_LETTERS) + "".join(secrets.choice(_BASE32) for _ in range(RUN_ID_LENGTH - 1))


def make_plan(config: Config, run_id: str | None = None) -> RunPlan:
    """Everything that will happen in a run of the config. run_id: a new one if not given."""
    names = unique_names([task.name for task in config.evaluation.tasks])
    endpoints = _endpoints(config, names)
    return RunPlan(
        run_id=run_id or new_run_id(),
        executor=config.execution.type,
        endpoints=endpoints,
        tasks=tuple(_task(config, index, name, endpoints[index % len(endpoints)]) for index, name in enumerate(names)),
        execution=to_plain(config.execution),
        start=config.execution.start,
        limits=_limits(config),
        plugins=config.plugins,
        created=time.time(),
        exports=config.exports,
    )


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with `-2`, `-3`, … added to those that came before; never a name that another task has."""
    reserved, last = set(names), dict.fromkeys(names, 0)
    result = []
    for name in names:
        last[name] += 1
        while (unique := f"{name}-{last[name]}" if last[name] > 1 else name) in reserved and unique != name:
            last[name] += 1
        result.append(unique)
    return result


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one, nested mappings too; what `over` says wins."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def _limits(config: Config) -> Limits:
    settings = config.execution
    return Limits(
        settings.max_tasks,
        settings.max_endpoints,
        settings.max_duration,
        settings.no_progress_timeout,
        settings.max_cost,
        settings.queue_timeout,
        settings.keep_endpoints,
    )


def _endpoints(config: Config, tasks: Sequence[str]) -> tuple[EndpointSpec, ...]:
    template = EndpointSpec(
        name="",
        index=0,
        variant=config.deployment_type,
        model=model_name(config.deployment, config.target.api_endpoint) or "",
        options=_endpoint_options(config),
        ready_timeout=config.execution.ready_timeout,
    )
    names = _endpoint_names(config.execution.endpoints, tasks)
    return tuple(evolve(template, name=name, index=index) for index, name in enumerate(names))


def _endpoint_names(endpoints: str | int, tasks: Sequence[str]) -> Sequence[str]:
    if endpoints == "per_task":
        return tasks
    if endpoints == "shared":
        return ("model",)
    return [f"model-{number}" for number in range(1, min(int(endpoints), len(tasks)) + 1)]


def _endpoint_options(config: Config) -> Json:
    deployment = {"type": config.deployment_type, **to_plain(config.deployment)}
    return {"deployment": deployment, "target": to_plain(config.target.api_endpoint)}


def _task(config: Config, index: int, name: str, endpoint: EndpointSpec) -> TaskSpec:
    task, target = config.evaluation.tasks[index], config.target.api_endpoint
    resolved = resolve_task(task, config.evaluation.harness, usual_types(config.deployment, target))
    nemo = (config.evaluation.nemo_evaluator_config, config.evaluation.overrides) if resolved.harness == NEMO_EVALUATOR else ({}, {})
    options = {
        "task": resolved.task,
        "suite": resolved.suite,
        "container": resolved.container,
        "endpoint_type": resolved.endpoint_type,
        "params": merged(nemo[0], merged(task.nemo_evaluator_config, task.harness_config)),
        "overrides": merged(nemo[1], task.overrides),
        "env": _environment(config, task),
        "pre_cmd": task.pre_cmd,
        "post_cmd": task.post_cmd,
        "dataset_dir": str(Path(task.dataset_dir).expanduser().absolute()) if task.dataset_dir else None,
        "model": endpoint.model,
        "api_key_name": target.api_key_name,
        "note": resolved.note,
    }
    return TaskSpec(
        name=name,
        index=index,
        harness=resolved.harness,
        endpoint=endpoint.name,
        options=options,
        timeout=task.timeout or config.execution.task_timeout,
    )


def _environment(config: Config, task: Task) -> dict[str, Any]:
    """Variables as the config writes them; what is closest to the task wins."""
    host = {name: f"host:{name}" for name in config.execution.env_var_names}
    return {**host, **config.evaluation.env_vars, **task.env_vars}
