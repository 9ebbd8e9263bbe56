"""Runs of the local executor over real processes: a stub model server, and small Python programs as tasks."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from attrs import define, field

from evalx.context import RunContext
from evalx.manager import Hooks
from evalx.model import EndpointHandle, EndpointSpec, Handle, TaskHandle, TaskResult, TaskSpec
from evalx.testing.runs import make_run
from evalx_local.executor import LocalExecutor
from evalx_local.settings import LocalSettings

T = TypeVar("T")

STUB = Path(__file__).parent / "stub_server.py"
PATIENCE = 30.0

ASK = """
    import json, pathlib, sys, urllib.request
    url, model, results = sys.argv[1:4]
    body = {"model": model, "messages": [{"role": "user", "content": "2 + 3"}]}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        said = json.load(answer)["choices"][0]["message"]["content"]
    metrics = [{"name": "accuracy", "value": float(said == "5"), "n": 1}]
    pathlib.Path(results).mkdir()
    pathlib.Path(results, "results.json").write_text(json.dumps({"schema": 1, "metrics": metrics}))
"""
"""A whole harness: one question, one score."""


def server(*faults: str, index: int = 0, name: str = "model", **deployment: Any) -> EndpointSpec:
    """An endpoint whose server is the stub, with its faults; further keys go into `deployment`."""
    argv = [sys.executable, str(STUB), "--port", "{port}", "--model", "{model}", *faults]
    return EndpointSpec(name, index, "command", "stub", {"deployment": {"type": "command", "argv": argv, **deployment}, "target": {}})


def external(url: str, **target: str) -> EndpointSpec:
    """An endpoint that exists."""
    return EndpointSpec("model", 0, "none", "stub", {"deployment": {"type": "none"}, "target": {"url": url, **target}})


def program(code: str, *arguments: str, index: int = 0, timeout: float = 60.0, **options: Any) -> TaskSpec:
    """A task that is a Python program; further keys go into its options."""
    command = [sys.executable, "-c", textwrap.dedent(code).replace("{", "{{").replace("}", "}}"), *arguments]
    return TaskSpec(f"task-{index}", index, "command", "model", {"params": {"command": command}, **options}, timeout=timeout)


def question(index: int = 0, **options: Any) -> TaskSpec:
    """A task that asks the endpoint and scores the answer."""
    return program(ASK, "{url}", "{model}", "{results}", index=index, **options)


@define(eq=False)
class World:
    """A run and the calls of its hooks; what was created is cleaned up in the end. `again()` is the same run in another process."""

    run: RunContext
    folder: Path
    made: list[Handle] = field(factory=list)

    @property
    def hooks(self) -> Hooks:
        return self.run.plugins.hooks(self.run)

    def again(self) -> World:
        plan, settings = self.run.plan, self.run.settings
        run = make_run(self.folder, LocalExecutor(), plan.endpoints, plan.tasks, name="local", settings=settings, run_id=plan.run_id)
        return World(run, self.folder, self.made)

    def deploy(self, spec: EndpointSpec | None = None) -> EndpointHandle:
        handle = self.hooks.deploy(spec or self.run.plan.endpoints[0])
        self.made.append(handle)
        return handle

    def ready(self, spec: EndpointSpec | None = None) -> EndpointHandle:
        handle = self.deploy(spec)
        return until(lambda: self.hooks.wait_ready(handle))

    def submit(self, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        handle = self.hooks.run_task(task, endpoint)
        self.made.append(handle)
        return handle

    def result(self, handle: TaskHandle) -> TaskResult:
        return until(lambda: self.hooks.collect(handle))

    def remove(self, handle: Handle) -> None:
        until(lambda: self.hooks.cleanup(handle) or None)


def until(look: Callable[[], T | None]) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE
    while (answer := look()) is None or answer is False:
        assert time.monotonic() < deadline, "no answer in time"
        time.sleep(0.02)
    return answer


def marked(resource: str) -> list[psutil.Process]:
    """Live processes that carry the resource's name, found without the executor."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("EVALX_RESOURCE") == resource and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds: `world(endpoints, tasks, **settings)`."""
    worlds: list[World] = []

    def make(endpoints: list[EndpointSpec], tasks: list[TaskSpec] | None = None, *, trust_commands: bool = False, **settings: Any) -> World:
        chosen = LocalSettings(type="local", **settings)
        run = make_run(tmp_path, LocalExecutor(), endpoints, tasks or [], name="local", settings=chosen, trust_commands=trust_commands)
        worlds.append(World(run, tmp_path))
        return worlds[-1]

    yield make
    for each in worlds:
        for handle in reversed(each.made):
            each.remove(handle)
