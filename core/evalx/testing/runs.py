"""A run context for tests: what hooks are given as `run`, without a config, a store or a driver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalx.context import RunContext
from evalx.manager import RunManager
from evalx.model import EndpointSpec, Limits, RunPlan, TaskSpec
from evalx.plan import new_run_id
from evalx.serial import to_json


def make_run(
    directory: Path,
    executor: object,
    endpoints: Sequence[EndpointSpec] = (),
    tasks: Sequence[TaskSpec] = (),
    *,
    name: str = "testing",
    settings: Any = None,
    start: str = "pipelined",
    limits: Limits | None = None,
    plugins: Sequence[tuple[str, object]] = (),
    run_id: str | None = None,
    trust_commands: bool = False,
) -> RunContext:
    """A run of these endpoints and tasks whose hooks may be called; its folder is `<directory>/<run id>`.

    executor: the instance that is registered in the run's manager. name: its plugin name. settings: default `executor.Settings(type=name)`.
    plugins: further plugins, as (name, instance). run_id: a new one by default; give that of another run to go on with it. The
    executor's `setup` hook has been called. Raises PluginError for an executor or a plugin that cannot be registered.
    """
    manager = RunManager(executor, name, plugins)
    chosen = settings if settings is not None else _default_settings(executor, name)
    plan = RunPlan(
        run_id=run_id or new_run_id(),
        executor=name,
        endpoints=tuple(endpoints),
        tasks=tuple(tasks),
        execution=to_json(chosen),
        start=start,
        limits=limits or Limits(),
    )
    folder = directory / plan.run_id
    folder.mkdir(parents=True, exist_ok=True)
    run = RunContext(plan, chosen, folder, manager, trust_commands=trust_commands)
    manager.hooks(run).setup()
    return run


def _default_settings(executor: object, name: str) -> Any:
    settings_class: Any = type(executor).Settings  # type: ignore[attr-defined]
    return settings_class(type=name)
