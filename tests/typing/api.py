"""The public API as a user and a plugin author type it. Only type-checked, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import assert_type

from attrs import evolve, frozen

import evalx
from evalx import catalog, runs
from evalx.config import Config, ExecutionSettings, load, setting
from evalx.context import RunContext
from evalx.errors import EndpointFailed, EvalxError, ExitCode, TransientError
from evalx.harnesses import Harness, HarnessCommand, ResultError, Target
from evalx.hookspecs import hookimpl
from evalx.model import (
    EndpointHandle,
    EndpointSpec,
    EnvValue,
    Event,
    Finding,
    Handle,
    Metric,
    Outcome,
    RunPlan,
    Secret,
    Site,
    TaskCommand,
    TaskHandle,
    TaskResult,
    TaskSpec,
)
from evalx.plan import make_plan
from evalx.serial import from_json, to_json
from evalx.store import Store
from evalx.testing import ExecutorConformance, Fault, InMemoryExecutor, World, make_run

# ---------------------------------------------------------------------- who runs evaluations


def run_and_read() -> float | None:
    config = load("quickstart", overrides=["execution.max_tasks=2"], executor="local", tasks=("capitals",))
    assert_type(config, Config)
    assert_type(make_plan(config), RunPlan)
    try:
        summary = runs.start(config, observers=[Printer()], fail_fast=True)
    except EvalxError as error:
        assert_type(error.exit_code, ExitCode)
        assert_type(error.hint, str | None)
        return None
    assert_type(summary.exit_code, ExitCode)
    assert_type(summary.results, tuple[TaskResult, ...])
    for result in summary.results:
        if result.outcome is Outcome.PASSED:
            return result.metrics[0].value
    return None


def from_a_notebook(folder: Path) -> float | None:
    with evalx.run({"defaults": ["quickstart"]}, tasks=["capitals"], observers=[Printer()]) as run:
        assert_type(run, evalx.Run)
        assert_type(run.status().tasks, tuple[evalx.TaskStatus, ...])
        assert_type(run.status().exit_code, evalx.ExitCode)
        assert_type(run.logs("capitals", tail=3), list[str])
        assert_type(run.results(), tuple[evalx.TaskResult, ...])
    try:
        summary = evalx.run(folder / "my.yaml", overrides=["execution.max_tasks=2"], executor="local", display="plain").wait(60)
    except TimeoutError:
        summary = evalx.open_run().cancel(now=True)
    except evalx.RunInterrupted:
        summary = evalx.resume("last", fail_fast=True).wait()
    except evalx.EvalxError as error:
        print(error.hint)
        return None
    assert_type(summary, evalx.RunSummary)
    assert_type([run.id for run in evalx.list_runs(3)], list[str])
    return summary.results[0].metrics[0].value


def go_on_and_end(run_id: str) -> tuple[str, ...]:
    runs.resume(run_id, trust_commands=True)
    runs.cancel(run_id, now=True)
    with Store(Path("state")) as store:
        for record in store.runs(limit=3):
            assert_type(record.plan, RunPlan)
        assert_type(store.events(run_id, after=3), list[Event])
    return runs.cleanup("last").left


def look() -> Iterator[str]:
    for plugin in catalog.plugins("evalx.executors"):
        yield f"{plugin.name} {plugin.distribution} {plugin.version}"


class Printer:
    """An observer."""

    @hookimpl
    def on_event(self, run: RunContext, event: Event) -> None:
        print(run.run_id, event.kind, event.state)

    @hookimpl
    def finish(self, run: RunContext, results: Sequence[TaskResult]) -> None:
        print(to_json(results[0]))


# ---------------------------------------------------------------------- who writes an executor


@frozen(kw_only=True)
class Settings(ExecutionSettings):
    queue: str = setting(help="Queue that tasks are submitted to.")
    tries: int = setting(2, help="How often the queue itself tries again.")


@frozen(kw_only=True)
class Options:
    image: str | None = setting(None, help="Image to deploy.")


class Executor:
    evalx_api = (1, 0)
    Settings = Settings
    deployments = "evalx.mine.deployments"

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        if run.stopping.is_set():
            raise TransientError("busy", retry_after=2.0)
        return EndpointHandle(endpoint, run.resource_name(endpoint), data={"id": 7})

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        if handle.data.get("id") is None:
            raise EndpointFailed("it was deleted", hint="look at the quota")
        run.report(handle, "queued", "no capacity", done=1, total=2)
        return evolve(handle, url="http://localhost:8000")

    @hookimpl
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        command = run.command(task, endpoint, Site(workdir=str(run.task_dir(task)), adapter_port=3825))
        assert_type(command, TaskCommand)
        assert_type(run.environment(command.env), dict[str, str])
        return TaskHandle(task, run.resource_name(task))

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        return run.result(handle.spec, exit_code=0)

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        return isinstance(handle, TaskHandle) or handle.owned

    @hookimpl
    def preflight(self, run: RunContext) -> list[Finding]:
        return [Finding("error", "no such queue", "create it", kind="auth")]


class Deployment:
    evalx_api = (1, 0)
    Options = Options


# ---------------------------------------------------------------------- who writes a harness adapter


class MyHarness:
    evalx_api = (1, 0)

    def command(self, task: TaskSpec, target: Target, site: Site) -> HarnessCommand:
        env: Mapping[str, EnvValue] = {"TOKEN": target.api_key or Secret("host:TOKEN"), "LIMIT": "3"}
        return HarnessCommand(("my-eval", target.url, site.results), env=env, files={"task.json": "{}"})

    def parse(self, task: TaskSpec, results: Path) -> tuple[Metric, ...]:
        if not (results / "scores.txt").is_file():
            raise ResultError("scores.txt is missing")
        return (Metric("accuracy", 0.5, stderr=0.1, n=26),)


harness: Harness = MyHarness()


# ---------------------------------------------------------------------- who tests one


def a_test(tmp_path: Path) -> None:
    world = World(polls_until_ready=2, faults=[Fault("deploy", error=TransientError("busy"), applied="late")])
    endpoint = EndpointSpec("model", 0, "none", "m")
    run = make_run(tmp_path, InMemoryExecutor(world), [endpoint], [TaskSpec("math", 0, "command", "model")])
    handle = run.plugins.hooks(run).deploy(endpoint)
    assert_type(handle, EndpointHandle)
    assert_type(from_json(EndpointHandle, to_json(handle)), EndpointHandle)
    assert_type(world.alive, tuple[str, ...])


class TestExecutor(ExecutorConformance):
    plugin = "mine"

    def endpoint(self) -> EndpointSpec:
        return EndpointSpec("model", 0, "none", "m")

    def broken_endpoint(self) -> EndpointSpec:
        return EndpointSpec("broken", 1, "none", "m")

    def task(self) -> TaskSpec:
        return TaskSpec("passes", 0, "command", "model")

    def failing_task(self) -> TaskSpec:
        return TaskSpec("fails", 1, "command", "model")

    def endless_task(self) -> TaskSpec:
        return TaskSpec("endless", 2, "command", "model")

    def alive(self, resource: str) -> int:
        return 0
