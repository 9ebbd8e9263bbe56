"""The suite passes a right executor, and each of its tests fails for the fault it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve

from evalx.context import RunContext
from evalx.errors import EndpointFailed, EvalxError
from evalx.hookspecs import hookimpl
from evalx.model import EndpointHandle, EndpointSpec, Found, Handle, Metric, Outcome, TaskHandle, TaskResult, TaskSpec
from evalx.testing import Ending, ExecutorConformance, Fault, InMemoryExecutor, World
from evalx.testing.bench import Bench

PLUGIN = '''
from evalx.testing.memory import InMemoryExecutor

class Executor(InMemoryExecutor):
    """The in-memory executor as a distribution of its own has it."""
'''


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str = PLUGIN) -> None:
    """Put a distribution with the plugin `memory` on the path, for this process and those it starts."""
    info = folder / "memory_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "memory_plugin.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memory-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[evalx.executors]\nmemory = memory_plugin:Executor\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))


class Conformance(ExecutorConformance):
    """What the suite is told of the in-memory executor. executor_class: which one; broken ones override hooks."""

    plugin = "memory"
    sdk = ("leptonai", "evalx_local")
    patience = 1.0
    prompt = 2.0
    poll_interval = 0.001
    executor_class: type[InMemoryExecutor] = InMemoryExecutor

    @pytest.fixture(autouse=True)
    def world(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
        """A new backend for each test."""
        install(tmp_path / "plugin", monkeypatch)
        self.backend = World(
            endings={"fails": Ending(Outcome.FAILED, reason="exit code 1"), "endless": Ending(polls=10**9)},
            faults=[Fault("wait_ready", name="broken", error=EndpointFailed("no such image"), times=None)],
        )
        return self.backend

    def executor(self) -> object:
        return self.executor_class(self.backend)

    def endpoint(self) -> EndpointSpec:
        return EndpointSpec("model", 0, "memory", "m")

    def broken_endpoint(self) -> EndpointSpec:
        return EndpointSpec("broken", 1, "memory", "m")

    def task(self) -> TaskSpec:
        return TaskSpec("passes", 0, "command", "model")

    def failing_task(self) -> TaskSpec:
        return TaskSpec("fails", 1, "command", "model")

    def endless_task(self) -> TaskSpec:
        return TaskSpec("endless", 2, "command", "model")

    def alive(self, resource: str) -> int:
        return self.backend.alive.count(resource)


class TestInMemoryExecutor(Conformance):
    """A right executor passes all of it."""


@define(eq=False)
class WithCapabilities(InMemoryExecutor):
    """Can also cancel and show logs."""

    @hookimpl
    def cancel(self, run: RunContext, handle: TaskHandle) -> bool:
        self.world.endings[handle.spec.name] = Ending(Outcome.CANCELLED, polls=0)
        return True

    @hookimpl
    def read_logs(self, run: RunContext, handle: Handle, follow: bool) -> Iterator[str]:
        yield "started"
        while follow and not run.stopping.wait(0.01):
            yield "working"

    @hookimpl
    def teardown(self, run: RunContext) -> bool:
        return True

    @hookimpl
    def discover(self, run: RunContext) -> list[Found]:
        return [Found(resource.split("-")[1], "endpoint", resource, mine=True) for resource in self.world.alive]


class TestWithCapabilities(Conformance):
    """So does one with optional hooks."""

    executor_class = WithCapabilities


@define(eq=False)
class NamesAsItLikes(InMemoryExecutor):
    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> EndpointHandle:
        name = f"mine-{len(self.world.alive)}"
        self.world.create(name, endpoint, ("", ""))
        return EndpointHandle(endpoint, name)


@define(eq=False)
class NeedsItsMemory(InMemoryExecutor):
    """Deletes only what this instance created."""

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        return self.world.delete(handle.resource) if handle.data else True


@define(eq=False)
class RaisesWhenGone(InMemoryExecutor):
    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        if handle.resource not in self.world.alive:
            raise EvalxError("404")
        return self.world.delete(handle.resource)


@define(eq=False)
class DeletesWhatIsNotOurs(InMemoryExecutor):
    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> bool:
        return self.world.delete(handle.resource)


@define(eq=False)
class ScoresFailures(InMemoryExecutor):
    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        return TaskResult(handle.spec, Outcome.FAILED, (Metric("accuracy", 0.0),), reason="exit code 1")


@define(eq=False)
class WaitsInAHook(InMemoryExecutor):
    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> EndpointHandle | None:
        if run.stopping.wait(0):
            self.world.enter("wait_ready", "stuck")
        return evolve(handle, url="memory://")


@define(eq=False)
class IgnoresCancel(InMemoryExecutor):
    @hookimpl
    def cancel(self, run: RunContext, handle: TaskHandle) -> bool:
        return True


@define(eq=False)
class FollowsForEver(InMemoryExecutor):
    @hookimpl
    def read_logs(self, run: RunContext, handle: Handle, follow: bool) -> Iterator[str]:
        yield "started"
        self.world.enter("wait_ready", "stuck")


@define(eq=False)
class TearsDownOnce(InMemoryExecutor):
    @hookimpl
    def teardown(self, run: RunContext) -> bool:
        if self.world.created["secret"]:
            raise EvalxError("404")
        self.world.created["secret"] += 1
        return True


@define(eq=False)
class DiscoversItsOwnRun(InMemoryExecutor):
    @hookimpl
    def discover(self, run: RunContext) -> list[Found]:
        return [Found(run.run_id, "endpoint", name, mine=True) for name in self.world.alive if run.run_id in name]


@define(eq=False)
class UnmarkedHook(InMemoryExecutor):
    def preflight(self, run: RunContext) -> list[Any]:
        return []


@pytest.mark.parametrize(
    ("executor_class", "test"),
    [
        (NamesAsItLikes, ExecutorConformance.test_an_endpoint_comes_up_under_its_name_and_goes),
        (NamesAsItLikes, ExecutorConformance.test_deploying_again_adopts),
        (NeedsItsMemory, ExecutorConformance.test_cleanup_works_from_the_name_alone_in_a_new_process),
        (RaisesWhenGone, ExecutorConformance.test_cleanup_may_be_repeated),
        (RaisesWhenGone, ExecutorConformance.test_cleanup_of_what_never_was_is_done_at_once),
        (DeletesWhatIsNotOurs, ExecutorConformance.test_what_is_not_ours_is_never_deleted),
        (ScoresFailures, ExecutorConformance.test_a_failing_task_says_why_and_has_no_score),
        (ScoresFailures, ExecutorConformance.test_a_task_passes_with_its_scores_and_files),
        (WaitsInAHook, ExecutorConformance.test_every_hook_returns_promptly_when_the_run_is_stopped),
        (IgnoresCancel, ExecutorConformance.test_a_cancelled_task_ends),
        (FollowsForEver, ExecutorConformance.test_logs_are_lines_and_end_with_the_run),
        (TearsDownOnce, ExecutorConformance.test_teardown_may_be_repeated_also_when_nothing_was_made),
        (DiscoversItsOwnRun, ExecutorConformance.test_what_is_alive_is_discovered_without_local_state),
        (UnmarkedHook, ExecutorConformance.test_its_hooks_are_marked_and_its_capabilities_are_its_hooks),
    ],
)
def test_the_suite_finds(
    executor_class: type[InMemoryExecutor],
    test: Callable[[ExecutorConformance, Bench], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = subject(executor_class, tmp_path, monkeypatch)
    try:
        with pytest.raises((AssertionError, EvalxError, TimeoutError)):
            test(suite, Bench(suite, tmp_path))
    finally:
        suite.backend.release()


def subject(executor_class: type[InMemoryExecutor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The suite for an executor of ours, with a backend in which `WaitsInAHook` hangs."""
    suite = type("Suite", (Conformance,), {"executor_class": executor_class, "prompt": 0.2, "patience": 0.2})()
    install(tmp_path / "plugin", monkeypatch)
    suite.backend = World(endings={"endless": Ending(polls=10**9)}, faults=[Fault("wait_ready", name="stuck", hang=True)])
    return suite


def test_the_suite_finds_an_sdk_that_comes_with_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, PLUGIN + "\nimport wave\n")
    suite: Any = type("Suite", (Conformance,), {"sdk": ("wave",)})()
    with pytest.raises(AssertionError, match="wave"):
        suite.test_loading_the_plugin_imports_no_sdk()


def test_a_suite_that_leaves_something_unsaid_is_refused() -> None:
    class Partly(ExecutorConformance):
        plugin = "memory"

    with pytest.raises(TypeError, match="broken_endpoint"):
        Partly()  # type: ignore[abstract]
