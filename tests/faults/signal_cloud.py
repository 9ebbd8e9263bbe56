"""An executor whose backend is a folder: a file for each resource, and in `calls` what was asked of it and when (monotonic seconds).

SIGNAL_STAGE names the hook in which the resources of "b" are to be found when the signal comes; those of "a" go their way. With
SIGNAL_STUBBORN nothing can be deleted, with SIGNAL_SCORES tasks end at once, and well.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from attrs import evolve, frozen

from evalx.config import ExecutionSettings
from evalx.context import RunContext
from evalx.hookspecs import API_VERSION, hookimpl
from evalx.model import EndpointHandle, EndpointSpec, Handle, Metric, Outcome, TaskHandle, TaskResult, TaskSpec

ENTRIES = """
[evalx.executors]
signalcloud = tests.faults.signal_cloud:SignalCloud
[evalx.signalcloud.deployments]
stub = tests.faults.signal_cloud:Stub
"""
"""The entry points of a distribution that brings it."""

CONFIG = """
execution: {type: signalcloud}
deployment: {type: stub}
evaluation:
  harness: command
  tasks:
    - {name: a, harness_config: {command: ["true"]}}
    - {name: b, harness_config: {command: ["true"]}}
"""

UNDER_WAY = 0.4
"""Seconds that the call takes which the signal interrupts."""


@frozen(kw_only=True)
class Options:
    served_model_name: str = "m"


class Stub:
    evalx_api = API_VERSION
    Options = Options


class SignalCloud:
    evalx_api = API_VERSION
    Settings = ExecutionSettings
    deployments = "evalx.signalcloud.deployments"

    def __init__(self) -> None:
        self.folder = Path(os.environ["SIGNAL_CLOUD"])
        self.stage = os.environ["SIGNAL_STAGE"]

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        self._reach("deploy", endpoint)
        return EndpointHandle(endpoint, self._create(run, endpoint))

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        reached = self._reach("wait_ready", handle.spec)
        return None if reached else evolve(handle, url="http://127.0.0.1:9/v1")

    @hookimpl
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        self._reach("run_task", task)
        return TaskHandle(task, self._create(run, task))

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        self._reach("collect", handle.spec)
        if os.environ.get("SIGNAL_SCORES"):
            return TaskResult(handle.spec, Outcome.PASSED, (Metric("accuracy", 0.5),))
        over = self.stage == "cleanup" and handle.spec.name == "b"
        return run.result(handle.spec, exit_code=1) if over else None

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        self._note("delete", handle.resource)
        if not isinstance(handle, EndpointHandle):
            self._reach("cleanup", handle.spec)
        if os.environ.get("SIGNAL_STUBBORN"):
            return False
        (self.folder / "there" / handle.resource).unlink(missing_ok=True)
        return True

    def _reach(self, hook: str, spec: EndpointSpec | TaskSpec) -> bool:
        if (self.stage, "b") != (hook, spec.name):
            return False
        self._note("reached", hook)
        time.sleep(UNDER_WAY)
        return True

    def _create(self, run: RunContext, spec: EndpointSpec | TaskSpec) -> str:
        name = run.resource_name(spec)
        (self.folder / "there" / name).touch()
        self._note("create", name)
        return name

    def _note(self, call: str, what: str) -> None:
        with (self.folder / "calls").open("a") as file:
            file.write(json.dumps([time.monotonic(), call, what]) + "\n")
