"""The workbench of the conformance suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evalx.context import RunContext
from evalx.model import EndpointHandle, EndpointSpec, Handle, Spec, TaskHandle, TaskResult, TaskSpec
from evalx.testing.runs import make_run

T = TypeVar("T")


class Subject(Protocol):
    """What the workbench must be told of an executor: see `ExecutorConformance`."""

    plugin: str
    patience: float
    poll_interval: float

    def executor(self) -> object: ...
    def settings(self) -> Any: ...
    def endpoint(self) -> EndpointSpec: ...
    def broken_endpoint(self) -> EndpointSpec: ...
    def task(self) -> TaskSpec: ...
    def failing_task(self) -> TaskSpec: ...
    def endless_task(self) -> TaskSpec: ...
    def alive(self, resource: str) -> int: ...


class Bench:
    """Where the suite works: makes runs, remembers what may have been created, and deletes it in the end."""

    def __init__(self, subject: Subject, directory: Path) -> None:
        self._subject = subject
        self._directory = directory
        self._runs: list[RunContext] = []
        self._handles: list[tuple[RunContext, Handle]] = []

    def run(self, run_id: str | None = None) -> RunContext:
        """A run with an executor instance of its own; with a run id: that run, in what might be another process."""
        subject = self._subject
        endpoints = [subject.endpoint(), subject.broken_endpoint()]
        tasks = [subject.task(), subject.failing_task(), subject.endless_task()]
        run = make_run(
            self._directory, subject.executor(), endpoints, tasks, name=subject.plugin, settings=subject.settings(), run_id=run_id
        )
        self._runs.append(run)
        return run

    def deploy(self, run: RunContext, spec: EndpointSpec) -> EndpointHandle:
        """Create an endpoint; it is remembered before the call goes out."""
        self._handles.append((run, EndpointHandle(spec, run.resource_name(spec))))
        handle = run.plugins.hooks(run).deploy(spec)
        self._handles.append((run, handle))
        return handle

    def ready(self, run: RunContext, spec: EndpointSpec | None = None) -> EndpointHandle:
        """An endpoint that answers."""
        handle = self.deploy(run, spec or self._subject.endpoint())
        return self.until(lambda: run.plugins.hooks(run).wait_ready(handle))

    def submit(self, run: RunContext, spec: TaskSpec, endpoint: EndpointHandle) -> TaskHandle:
        """Submit a task; it is remembered before the call goes out."""
        self._handles.append((run, TaskHandle(spec, run.resource_name(spec))))
        handle = run.plugins.hooks(run).run_task(spec, endpoint)
        self._handles.append((run, handle))
        return handle

    def result(self, run: RunContext, handle: TaskHandle) -> TaskResult:
        """What the task ends with."""
        return self.until(lambda: run.plugins.hooks(run).collect(handle))

    def remove(self, run: RunContext, handle: Handle) -> None:
        """Clean up until it is gone."""
        self.until(lambda: run.plugins.hooks(run).cleanup(handle) or None)

    def until(self, look: Callable[[], T | None]) -> T:
        """Ask until there is an answer, as the driver does."""
        deadline = time.monotonic() + self._subject.patience
        while (answer := look()) is None:
            assert time.monotonic() < deadline, f"no answer in {self._subject.patience:g} s (`patience`)"
            time.sleep(self._subject.poll_interval)
        return answer

    def gone(self, run: RunContext, *specs: Spec) -> None:
        """Fail unless the backend has nothing of these."""
        for spec in specs:
            name = run.resource_name(spec)
            self.until(partial(self._absent, name))

    def _absent(self, name: str) -> bool | None:
        return True if self._subject.alive(name) == 0 else None

    def _torn_down(self, run: RunContext) -> bool | None:
        return run.plugins.hooks(run).teardown() or None

    def close(self) -> None:
        """Delete all that may be left, newest first."""
        for run, handle in reversed(self._handles):
            self.remove(run, handle)
        for run in self._runs:
            if "teardown" in run.plugins.capabilities():
                self.until(partial(self._torn_down, run))
