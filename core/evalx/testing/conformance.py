"""The suite that every executor passes.

Subclass it in your tests and say what your executor can deploy and run:

    class TestMyExecutor(ExecutorConformance):
        plugin = "mine"
        sdk = ("mine_sdk",)

        def endpoint(self) -> EndpointSpec: ...
        def broken_endpoint(self) -> EndpointSpec: ...
        def task(self) -> TaskSpec: ...
        def failing_task(self) -> TaskSpec: ...
        def endless_task(self) -> TaskSpec: ...
        @abstractmethod
    def alive(self, resource: str) -> int: ...

The tests call hooks as the driver does, one after the other, against your real backend or an emulator of it. Whatever they create
they clean up, also when they fail.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve

from evalx import catalog
from evalx.config.settings import ExecutionSettings
from evalx.context import NAME_LENGTH, RunContext
from evalx.errors import EndpointFailed, EvalxError
from evalx.hookchecks import OPTIONAL, REQUIRED
from evalx.hookspecs import API_VERSION
from evalx.model import EndpointHandle, EndpointSpec, Handle, Outcome, TaskHandle, TaskResult, TaskSpec
from evalx.serial import from_json, to_json
from evalx.testing.bench import Bench

T = TypeVar("T")
H = TypeVar("H", EndpointHandle, TaskHandle)

GROUP = "evalx.executors"


class ExecutorConformance(ABC):
    """Tests of an executor; subclass as the module's docstring shows.

    plugin: its name in the entry-point group `evalx.executors`. sdk: modules that importing the plugin must not import. patience:
    seconds until an endpoint is ready, a task is over, or a resource is gone. prompt: seconds in which every hook returns once the run
    is being stopped. poll_interval: seconds between two looks.
    """

    plugin: str
    sdk: tuple[str, ...] = ()
    patience: float = 60.0
    prompt: float = 10.0
    poll_interval: float = 0.1

    # ------------------------------------------------------------------ what a subclass says

    def executor(self) -> object:
        """A new instance, as a new evalx process would have."""
        return catalog.load(GROUP, self.plugin)()

    def settings(self) -> Any:
        """The executor's settings; all defaults, unless you override this."""
        return catalog.load(GROUP, self.plugin).Settings(type=self.plugin)

    @abstractmethod
    def endpoint(self) -> EndpointSpec:
        """An endpoint that becomes ready; one that exists, if your executor creates none. index 0."""

    @abstractmethod
    def broken_endpoint(self) -> EndpointSpec:
        """One that never will: `deploy` or `wait_ready` raises EndpointFailed. index 1."""

    @abstractmethod
    def task(self) -> TaskSpec:
        """A task that asks `endpoint()` and leaves a valid result. index 0."""

    @abstractmethod
    def failing_task(self) -> TaskSpec:
        """A task whose command fails. index 1."""

    @abstractmethod
    def endless_task(self) -> TaskSpec:
        """A task that runs for an hour if nobody stops it. index 2."""

    @abstractmethod
    def alive(self, resource: str) -> int:
        """How many resources of that name exist at the backend, found out without the executor."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        """The suite's workbench."""
        bench = Bench(self, tmp_path)
        yield bench
        bench.close()

    # ------------------------------------------------------------------ the class

    def test_the_class_states_what_the_core_asks_for(self) -> None:
        executor_class = catalog.load(GROUP, self.plugin)
        major, minor = executor_class.evalx_api
        assert major == API_VERSION[0]
        assert minor <= API_VERSION[1]
        assert issubclass(executor_class.Settings, ExecutionSettings)
        assert isinstance(executor_class.deployments, str)
        assert getattr(self.executor(), "settle", 0.0) >= 0

    def test_its_hooks_are_marked_and_its_capabilities_are_its_hooks(self, bench: Bench) -> None:
        run = bench.run()
        executor = run.plugins.executor
        implemented = {name for name in OPTIONAL if callable(getattr(executor, name, None))}
        assert run.plugins.capabilities() == implemented
        assert all(callable(getattr(executor, name, None)) for name in REQUIRED)

    def test_loading_the_plugin_imports_no_sdk(self) -> None:
        code = (
            "import sys; from evalx import catalog; plugin = catalog.load(*sys.argv[1:3]); plugin();"
            "found = [name for name in sys.argv[3:] if name in sys.modules]; sys.exit(' '.join(found) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code, GROUP, self.plugin, *self.sdk], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"imported with the plugin: {done.stderr}"

    def test_preflight_finds_no_error_here(self, bench: Bench) -> None:
        run = bench.run()
        findings = run.plugins.hooks(run).preflight()
        assert [finding for finding in findings if finding.level == "error"] == []

    # ------------------------------------------------------------------ endpoints

    def test_an_endpoint_comes_up_under_its_name_and_goes(self, bench: Bench) -> None:
        run, spec = bench.run(), self.endpoint()
        handle = bench.ready(run)
        self._is_named(run, handle)
        assert handle.url
        self._is_alive_once(handle)
        bench.remove(run, handle)
        bench.gone(run, spec)

    def test_deploying_again_adopts(self, bench: Bench) -> None:
        run, spec = bench.run(), self.endpoint()
        first = bench.deploy(run, spec)
        second = bench.deploy(run, spec)
        third = bench.deploy(bench.run(run.run_id), spec)
        assert first.resource == second.resource == third.resource
        self._is_alive_once(bench.ready(run))

    def test_a_new_process_goes_on_from_the_handle(self, bench: Bench) -> None:
        run = bench.run()
        handle = _through_json(bench.deploy(run, self.endpoint()))
        later = bench.run(run.run_id)
        ready = bench.until(lambda: later.plugins.hooks(later).wait_ready(handle))
        assert ready.url
        bench.remove(later, _through_json(ready))
        bench.gone(run, self.endpoint())

    def test_a_broken_endpoint_fails_with_a_reason_and_leaves_nothing(self, bench: Bench) -> None:
        run, spec = bench.run(), self.broken_endpoint()
        with pytest.raises(EndpointFailed) as caught:
            bench.ready(run, spec)
        assert str(caught.value).strip()
        bench.remove(run, EndpointHandle(spec, run.resource_name(spec)))
        bench.gone(run, spec)

    def test_what_is_not_ours_is_never_deleted(self, bench: Bench) -> None:
        run = bench.run()
        handle = bench.ready(run)
        before = self.alive(handle.resource)
        assert run.plugins.hooks(run).cleanup(evolve(handle, owned=False)) is True
        assert self.alive(handle.resource) == before
        again = run.plugins.hooks(run).wait_ready(handle)
        assert again is not None
        assert again.url == handle.url

    # ------------------------------------------------------------------ cleanup

    def test_cleanup_may_be_repeated(self, bench: Bench) -> None:
        run = bench.run()
        handle = bench.ready(run)
        bench.remove(run, handle)
        assert run.plugins.hooks(run).cleanup(handle) is True
        assert run.plugins.hooks(run).cleanup(handle) is True

    def test_cleanup_of_what_never_was_is_done_at_once(self, bench: Bench) -> None:
        run = bench.run()
        hooks, endpoint, task = run.plugins.hooks(run), self.endpoint(), self.task()
        assert hooks.cleanup(EndpointHandle(endpoint, run.resource_name(endpoint))) is True
        assert hooks.cleanup(TaskHandle(task, run.resource_name(task))) is True

    def test_cleanup_works_from_the_name_alone_in_a_new_process(self, bench: Bench) -> None:
        run = bench.run()
        endpoint, task = bench.ready(run), self.endless_task()
        self._is_alive_once(bench.submit(run, task, endpoint))
        later = bench.run(run.run_id)
        bench.remove(later, TaskHandle(task, run.resource_name(task)))
        bench.remove(later, EndpointHandle(endpoint.spec, endpoint.resource))
        bench.gone(run, task, endpoint.spec)

    # ------------------------------------------------------------------ tasks

    def test_a_task_passes_with_its_scores_and_files(self, bench: Bench) -> None:
        run, task = bench.run(), self.task()
        handle = bench.submit(run, task, bench.ready(run))
        self._is_named(run, handle)
        result = bench.result(run, _through_json(handle))
        assert result.outcome is Outcome.PASSED, result.reason
        assert result.spec == task
        assert result.metrics
        assert [artifact.path for artifact in result.artifacts if not (run.task_dir(task) / artifact.path).is_file()] == []
        assert from_json(TaskResult, json.loads(json.dumps(to_json(result)))) == result
        bench.remove(run, handle)
        bench.gone(run, task)

    def test_a_result_may_be_collected_again_in_a_new_process(self, bench: Bench) -> None:
        run, task = bench.run(), self.task()
        handle = bench.submit(run, task, bench.ready(run))
        first = bench.result(run, handle)
        second = bench.result(bench.run(run.run_id), _through_json(handle))
        assert (second.outcome, second.metrics) == (first.outcome, first.metrics)

    def test_submitting_again_adopts(self, bench: Bench) -> None:
        run, task = bench.run(), self.endless_task()
        endpoint = bench.ready(run)
        first = bench.submit(run, task, endpoint)
        second = bench.submit(bench.run(run.run_id), task, endpoint)
        assert first.resource == second.resource
        self._is_alive_once(second)

    def test_a_failing_task_says_why_and_has_no_score(self, bench: Bench) -> None:
        run, task = bench.run(), self.failing_task()
        result = bench.result(run, bench.submit(run, task, bench.ready(run)))
        assert result.outcome in {Outcome.FAILED, Outcome.NO_RESULT}
        assert result.metrics == ()
        assert result.reason

    def test_a_task_that_is_cleaned_up_early_has_no_score(self, bench: Bench) -> None:
        run, task = bench.run(), self.endless_task()
        handle = bench.submit(run, task, bench.ready(run))
        assert run.plugins.hooks(run).collect(handle) is None
        bench.remove(run, handle)
        bench.gone(run, task)
        result = bench.result(run, handle)
        assert result.outcome is not Outcome.PASSED
        assert result.reason

    def test_a_cancelled_task_ends(self, bench: Bench) -> None:
        run, task = bench.run(), self.endless_task()
        if "cancel" not in run.plugins.capabilities():
            pytest.skip("the executor has no `cancel`")
        handle = bench.submit(run, task, bench.ready(run))
        assert run.plugins.hooks(run).cancel(handle) is True
        result = bench.result(run, handle)
        assert result.outcome is not Outcome.PASSED
        assert result.metrics == ()

    def test_logs_are_lines_and_end_with_the_run(self, bench: Bench) -> None:
        run, task = bench.run(), self.endless_task()
        if "read_logs" not in run.plugins.capabilities():
            pytest.skip("the executor has no `read_logs`")
        handle = bench.submit(run, task, bench.ready(run))
        lines = run.plugins.hooks(run).read_logs(handle, follow=True)
        assert lines is not None
        run.stopping.set()
        assert [line for line in self._promptly(lambda: list(lines)) if re.search(r"[\r\n]$", line)] == []

    # ------------------------------------------------------------------ the run as a whole, and the backend as a whole

    def test_teardown_may_be_repeated_also_when_nothing_was_made(self, bench: Bench) -> None:
        run = bench.run()
        if "teardown" not in run.plugins.capabilities():
            pytest.skip("the executor has no `teardown`")
        hooks = run.plugins.hooks(run)
        for _ in range(2):
            assert bench.until(lambda: hooks.teardown() or None)

    def test_what_is_alive_is_discovered_without_local_state(self, bench: Bench) -> None:
        run = bench.run()
        if "discover" not in run.plugins.capabilities():
            pytest.skip("the executor has no `discover`")
        handle = bench.ready(run)
        stranger = bench.run()
        found = [one for one in stranger.plugins.hooks(stranger).discover() if one.resource == handle.resource]
        assert [(one.run_id, one.kind, one.mine) for one in found] == ([(run.run_id, "endpoint", True)] if handle.owned else [])
        self._is_alive_once(handle)
        bench.remove(run, handle)
        bench.gone(run, handle.spec)
        assert handle.resource not in [one.resource for one in stranger.plugins.hooks(stranger).discover()]

    # ------------------------------------------------------------------ stopping, and other runs

    def test_every_hook_returns_promptly_when_the_run_is_stopped(self, bench: Bench) -> None:
        run, task = bench.run(), self.endless_task()
        hooks, endpoint = run.plugins.hooks(run), bench.ready(run)
        handle = bench.submit(run, task, endpoint)
        run.stopping.set()
        broken = self.broken_endpoint()
        for call in (
            lambda: hooks.wait_ready(endpoint),
            lambda: hooks.collect(handle),
            lambda: hooks.deploy(endpoint.spec),
            lambda: hooks.wait_ready(bench.deploy(run, broken)),
            lambda: hooks.run_task(task, endpoint),
            lambda: hooks.cleanup(handle),
            lambda: hooks.cleanup(endpoint),
        ):
            self._promptly(lambda call=call: _settled(call))  # type: ignore[misc]
        bench.remove(run, handle)
        bench.remove(run, endpoint)
        bench.gone(run, task, endpoint.spec)

    def test_runs_side_by_side_share_nothing(self, bench: Bench) -> None:
        runs = [bench.run(), bench.run()]
        with ThreadPoolExecutor(len(runs)) as pool:
            endpoints = list(pool.map(bench.ready, runs))
            handles = [bench.submit(run, self.task(), endpoint) for run, endpoint in zip(runs, endpoints, strict=True)]
            results = list(pool.map(bench.result, runs, handles))
        assert [result.outcome for result in results] == [Outcome.PASSED] * 2, [result.reason for result in results]
        assert endpoints[0].resource != endpoints[1].resource
        for handle in (handles[0], endpoints[0]):
            bench.remove(runs[0], handle)
        bench.gone(runs[0], endpoints[0].spec)
        self._is_alive_once(endpoints[1])
        assert runs[1].plugins.hooks(runs[1]).wait_ready(endpoints[1]) is not None

    # ------------------------------------------------------------------ helpers

    def _is_named(self, run: RunContext, handle: Handle) -> None:
        assert handle.resource == run.resource_name(handle.spec)
        assert len(handle.resource) <= NAME_LENGTH

    def _is_alive_once(self, handle: Handle) -> None:
        if isinstance(handle, TaskHandle) or handle.owned:
            assert self.alive(handle.resource) == 1

    def _promptly(self, call: Callable[[], T]) -> T:
        """The call's answer; fails if it has not returned after `prompt` seconds. In a daemon thread, so that a hang blocks nobody."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:  # noqa: BLE001  handed to the caller
                answer.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return answer.result(self.prompt)


def _settled(call: Callable[[], object]) -> None:
    """Call a hook in a run that is being stopped: refusing is as good as answering."""
    try:
        call()
    except EvalxError:
        return


def _through_json(handle: H) -> H:
    """The handle as another process reads it."""
    return from_json(type(handle), json.loads(json.dumps(to_json(handle))))
