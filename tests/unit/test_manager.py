from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve
from structlog.testing import capture_logs

from evalx.context import RunContext
from evalx.errors import PluginError, TransientError
from evalx.facade import Hooks
from evalx.hookspecs import hookimpl, hookspec
from evalx.manager import RunManager
from evalx.model import EndpointHandle, EndpointSpec, Event, Finding, Handle, Outcome, RunPlan, TaskHandle, TaskResult, TaskSpec

ENDPOINT = EndpointSpec("model", 0, "none", "tiny")
TASK = TaskSpec("mmlu", 0, "command", "model")
EVENT = Event(1, 0.0, "run", "warning")


class Five:
    """The smallest executor."""

    @hookimpl
    def deploy(self, run: RunContext, endpoint: EndpointSpec) -> Any:
        return EndpointHandle(endpoint, "r-model")

    @hookimpl
    def wait_ready(self, run: RunContext, handle: EndpointHandle) -> Any:
        return evolve(handle, url="http://127.0.0.1:1/v1")

    @hookimpl
    def run_task(self, run: RunContext, task: TaskSpec, endpoint: EndpointHandle) -> Any:
        return TaskHandle(task, "r-mmlu")

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> Any:
        return TaskResult(handle.spec, Outcome.PASSED)

    @hookimpl
    def cleanup(self, run: RunContext, handle: Handle) -> Any:
        return True


def executor(hook: str | None = None, function: Callable[..., Any] | None = None) -> Five:
    """A `Five` whose one method is another."""
    return type("Changed", (Five,), {hook: function} if hook else {})()


def hooks(executor: object, *plugins: tuple[str, object], on_warning: Callable[[str], None] | None = None) -> Hooks:
    manager = RunManager(executor, "acme", plugins)
    return manager.hooks(RunContext(RunPlan("run", "acme", (ENDPOINT,), (TASK,)), None, Path(), manager), on_warning)


ENDPOINT_HANDLE = EndpointHandle(ENDPOINT, "r-model")
TASK_HANDLE = TaskHandle(TASK, "r-mmlu")


class TestCalls:
    def test_the_five_answer_through_the_facade(self) -> None:
        run = hooks(Five())
        handle = run.deploy(ENDPOINT)
        assert handle == ENDPOINT_HANDLE
        assert run.wait_ready(handle) == evolve(handle, url="http://127.0.0.1:1/v1")
        assert run.run_task(TASK, handle) == TASK_HANDLE
        assert run.collect(TASK_HANDLE) == TaskResult(TASK, Outcome.PASSED)
        assert run.cleanup(TASK_HANDLE) is True

    @pytest.mark.parametrize(
        ("hook", "answer", "returned"),
        [
            ("deploy", None, "returned None, not EndpointHandle"),
            ("deploy", TASK_HANDLE, "a value of type TaskHandle, not EndpointHandle"),
            ("deploy", evolve(ENDPOINT_HANDLE, spec=evolve(ENDPOINT, index=4)), 'an answer for another spec than "model"'),
            ("deploy", evolve(ENDPOINT_HANDLE, data={"port": object()}), "data is not JSON"),
            ("wait_ready", True, "a value of type bool, not EndpointHandle or None"),
            ("wait_ready", ENDPOINT_HANDLE, "a handle without url"),
            ("run_task", "r-mmlu", "a value of type str, not TaskHandle"),
            ("collect", {"outcome": "passed"}, "a value of type dict, not TaskResult or None"),
            ("collect", TaskResult(evolve(TASK, index=1), Outcome.PASSED), "an answer for another spec"),
            ("cleanup", None, "returned None, not bool"),
        ],
    )
    def test_a_wrong_answer_is_blamed_on_plugin_and_hook(self, hook: str, answer: object, returned: str) -> None:
        calls: dict[str, Callable[[Hooks], object]] = {
            "deploy": lambda run: run.deploy(ENDPOINT),
            "wait_ready": lambda run: run.wait_ready(ENDPOINT_HANDLE),
            "run_task": lambda run: run.run_task(TASK, ENDPOINT_HANDLE),
            "collect": lambda run: run.collect(TASK_HANDLE),
            "cleanup": lambda run: run.cleanup(TASK_HANDLE),
        }
        run = hooks(executor(hook, hookimpl(_answering(hook, answer))))
        with pytest.raises(
            PluginError, match=rf'plugin "acme" \(module .*test_manager\): hook {hook} returned .*{returned.split("returned ")[-1]}'
        ):
            calls[hook](run)

    def test_not_yet_is_none(self) -> None:
        assert hooks(executor("wait_ready", hookimpl(lambda self, run, handle: None))).wait_ready(ENDPOINT_HANDLE) is None
        assert hooks(executor("collect", hookimpl(lambda self, run, handle: None))).collect(TASK_HANDLE) is None

    def test_an_exception_keeps_its_type_and_is_blamed_once(self) -> None:
        error = TransientError("busy", retry_after=3)

        def deploy(self: object, run: RunContext, endpoint: EndpointSpec) -> Any:
            raise error

        run = hooks(executor("deploy", hookimpl(deploy)))
        for _ in range(3):
            with pytest.raises(TransientError) as caught:
                run.deploy(ENDPOINT)
        assert caught.value.retry_after == 3
        (note,) = caught.value.__notes__
        assert note.startswith('raised by plugin "acme" (module ') and note.endswith("in hook deploy")

    def test_the_blame_names_the_distribution_of_an_installed_plugin(self) -> None:
        def deploy(self: object, run: RunContext, endpoint: EndpointSpec) -> Any:
            raise OSError("no")

        changed = executor("deploy", hookimpl(deploy))
        type(changed).__module__ = "evalx_local.executor"
        with pytest.raises(OSError, match=r"no") as caught:
            hooks(changed).deploy(ENDPOINT)
        assert 'plugin "acme" (evalx ' in caught.value.__notes__[0]


def _answering(hook: str, answer: object) -> Callable[..., object]:
    """Hooks are told by the names of their parameters."""
    if hook == "deploy":
        return lambda self, run, endpoint: answer
    if hook == "run_task":
        return lambda self, run, task, endpoint: answer
    return lambda self, run, handle: answer


class TestOptionalHooks:
    def test_without_them_there_are_defaults(self) -> None:
        run = hooks(Five())
        run.setup()
        assert run.preflight() == []
        assert run.read_logs(TASK_HANDLE, follow=False) is None
        assert run.cancel(TASK_HANDLE) is False
        with run.make_pool() as pool:
            assert pool.submit(lambda: 7).result() == 7

    def test_the_default_poll_interval_grows_to_five_seconds(self) -> None:
        run = hooks(Five())
        intervals = [run.poll_interval(TASK_HANDLE, age) for age in (0, 1, 10, 60, 3600)]
        assert intervals == sorted(intervals)
        assert (intervals[0], intervals[-1]) == (0.2, 5.0)

    def test_implementing_is_declaring(self) -> None:
        class Able(Five):
            @hookimpl
            def setup(self, run: RunContext) -> None:
                self.ready = run.run_id

            @hookimpl
            def preflight(self, run: RunContext) -> list[Finding]:
                return [Finding("warning", "slow")]

            @hookimpl
            def make_pool(self, run: RunContext) -> Executor:
                return ThreadPoolExecutor(1, thread_name_prefix="mine")

            @hookimpl
            def read_logs(self, run: RunContext, handle: Handle, follow: bool) -> Iterator[str]:
                yield "one"
                raise OSError("gone" if follow else "cut")

            @hookimpl
            def cancel(self, run: RunContext, handle: TaskHandle) -> bool:
                return True

            @hookimpl
            def poll_interval(self, run: RunContext, handle: Handle, age: float) -> int:
                return 2

        able = Able()
        assert RunManager(able, "acme").capabilities() == {"setup", "preflight", "make_pool", "read_logs", "cancel", "poll_interval"}
        assert RunManager(Five(), "acme").capabilities() == frozenset()
        run = hooks(able)
        run.setup()
        assert able.ready == "run"
        assert run.preflight() == [Finding("warning", "slow")]
        assert run.cancel(TASK_HANDLE) is True
        assert run.poll_interval(TASK_HANDLE, 9) == 2.0
        with run.make_pool() as pool:
            assert pool.submit(lambda: threading.current_thread().name).result().startswith("mine")
        lines = run.read_logs(TASK_HANDLE, follow=True)
        assert lines is not None and next(lines) == "one"
        with pytest.raises(OSError, match=r"gone") as caught:
            next(lines)
        assert "in hook read_logs" in caught.value.__notes__[0]

    def test_logs_since_a_time_only_of_who_looks_at_it(self) -> None:
        whole = hooks(executor("read_logs", hookimpl(lambda self, run, handle, follow: iter(["all"]))))
        assert list(whole.read_logs(TASK_HANDLE, follow=False) or ()) == ["all"]
        with pytest.raises(PluginError, match=r"does not tell when a line was written") as caught:
            whole.read_logs(TASK_HANDLE, follow=False, since=7.0)
        assert "--tail N" in (caught.value.hint or "")
        able = hooks(executor("read_logs", hookimpl(lambda self, run, handle, since: iter([str(since)]))))
        assert list(able.read_logs(TASK_HANDLE, follow=False, since=7.0) or ()) == ["7.0"]
        assert hooks(Five()).read_logs(TASK_HANDLE, follow=False, since=7.0) is None

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True])
    def test_an_interval_that_would_spin_or_never_end_is_refused(self, seconds: float) -> None:
        run = hooks(executor("poll_interval", hookimpl(lambda self, run, handle, age: seconds)))
        with pytest.raises(PluginError, match=r"not a positive number of seconds"):
            run.poll_interval(TASK_HANDLE, 1)

    def test_findings_must_be_findings(self) -> None:
        with pytest.raises(PluginError, match=r"preflight returned a list with a value of type str in it"):
            hooks(executor("preflight", hookimpl(lambda self, run: ["no token"]))).preflight()


class TestRegistration:
    def test_a_missing_hook_is_found_when_the_run_begins(self) -> None:
        half = type("Half", (), {name: vars(Five)[name] for name in ("deploy", "wait_ready", "run_task")})()
        with pytest.raises(PluginError, match=r"lacks the hooks cleanup, collect") as caught:
            RunManager(half, "acme")
        assert "@hookimpl" in str(caught.value.hint)

    def test_a_misspelt_required_hook_is_suggested(self) -> None:
        members = {name: vars(Five)[name] for name in ("deploy", "run_task", "collect", "cleanup")}
        with pytest.raises(PluginError, match=r'lacks the hook wait_ready. It marks "wait_redy". Did you mean "wait_ready"'):
            RunManager(type("Typo", (), {**members, "wait_redy": Five.wait_ready})(), "acme")

    def test_a_misspelt_optional_hook_is_suggested(self) -> None:
        with pytest.raises(PluginError, match=r'marks "prefligth" as a hook, but there is no such hook. Did you mean "preflight"'):
            RunManager(executor("prefligth", hookimpl(lambda self, run: [])), "acme")

    @pytest.mark.parametrize("hook", ["collect", "preflight"])
    def test_a_method_that_lost_its_mark_is_found(self, hook: str) -> None:
        with pytest.raises(PluginError, match=f"has a method {hook} that is not marked as a hook") as caught:
            RunManager(executor(hook, lambda self, run, handle: None), "acme")
        assert caught.value.hint == f"put @hookimpl above `def {hook}`"

    def test_an_observer_that_lost_its_mark_is_found(self) -> None:
        observer = type("Observer", (), {"on_event": lambda self, run, event: None})()
        with pytest.raises(PluginError, match=r"has a method on_event that is not marked"):
            RunManager(Five(), "acme", [("observer", observer)])

    def test_an_unknown_parameter_is_refused(self) -> None:
        with pytest.raises(PluginError, match=r'has a parameter "\w+" of hook \w+, which has none of that name'):
            RunManager(executor("deploy", hookimpl(lambda self, run, spec: None)), "acme")

    def test_a_parameter_that_pluggy_would_never_fill_is_refused(self) -> None:
        for function in (lambda self, run, handle, follow=False: iter(()), lambda self, run, handle, *, follow: iter(())):
            with pytest.raises(PluginError, match=r'parameter "follow" of hook read_logs that would never be filled'):
                RunManager(executor("read_logs", hookimpl(function)), "acme")

    def test_an_async_hook_is_refused(self) -> None:
        async def deploy(self: object, run: RunContext, endpoint: EndpointSpec) -> None: ...

        with pytest.raises(PluginError, match=r"declares the hook deploy async"):
            RunManager(executor("deploy", hookimpl(deploy)), "acme")

    def test_a_wrapper_must_be_a_generator(self) -> None:
        plugin = type("Wrapper", (), {"deploy": hookimpl(lambda self, run, endpoint: None, wrapper=True)})()
        with pytest.raises(PluginError, match=r"(?s)cannot be registered.*generator"):
            RunManager(Five(), "acme", [("wrapper", plugin)])

    def test_a_plugin_compared_by_value_is_refused(self) -> None:
        @define
        class Valued(Five):
            pass

        with pytest.raises(PluginError, match=r"compares by value") as caught:
            RunManager(Valued(), "acme")
        assert "eq=False" in str(caught.value.hint)

    def test_a_name_twice_is_refused(self) -> None:
        with pytest.raises(PluginError, match=r'"twin" .*cannot be registered'):
            RunManager(Five(), "acme", [("twin", object()), ("twin", object())])

    def test_two_runs_share_nothing(self) -> None:
        first, second = RunManager(Five(), "acme"), RunManager(Five(), "acme")
        first.register(object(), "only here")
        assert second.pm.get_plugin("only here") is None
        assert first.executor is not second.executor


class TestSubPlugins:
    class Specs:
        @hookspec(firstresult=True)
        def server_image(self, run: RunContext, endpoint: EndpointSpec) -> str | None:
            """The image of a server."""

    class Mirror:
        @hookimpl(wrapper=True, optionalhook=True)
        def server_image(self, run: RunContext, endpoint: EndpointSpec) -> Iterator[None]:
            image = yield
            return f"mirror/{image}"

    class Variant:
        @hookimpl
        def server_image(self, run: RunContext, endpoint: EndpointSpec) -> str:
            return f"vllm:{endpoint.model}"

    def test_an_executors_own_hooks_are_implemented_and_wrapped_by_others(self) -> None:
        platform = type("Platform", (Five,), {"hook_specs": (self.Specs,)})()
        manager = RunManager(platform, "acme", [("mirror", self.Mirror())])
        manager.register(self.Variant(), "variant")
        assert manager.call("server_image", run=None, endpoint=ENDPOINT) == "mirror/vllm:tiny"

    def test_hooks_can_be_added_while_setting_up(self) -> None:
        manager = RunManager(Five(), "acme")
        manager.add_hookspecs(self.Specs)
        manager.register(self.Variant(), "variant")
        assert manager.implements("server_image")
        assert manager.call("server_image", run=None, endpoint=ENDPOINT) == "vllm:tiny"

    def test_a_hook_of_an_absent_executor_must_be_marked_optional(self) -> None:
        RunManager(Five(), "acme", [("mirror", self.Mirror())])
        with pytest.raises(PluginError, match=r"no such hook") as caught:
            RunManager(Five(), "acme", [("variant", self.Variant())])
        assert "optionalhook=True" in str(caught.value.hint)

    def test_a_plugin_is_loaded_instantiated_and_registered_by_name_once(self, installed: None) -> None:
        manager = RunManager(Five(), "acme")
        plugin = manager.register_from("evalx.plugins", "sample")
        assert type(plugin).__name__ == "Sample"
        assert manager.register_from("evalx.plugins", "sample") is plugin
        assert manager.describe("evalx.plugins:sample") == 'plugin "evalx.plugins:sample" (sample 1.5)'

    def test_a_harness_is_one_instance_per_run(self, installed: None) -> None:
        manager = RunManager(Five(), "acme")
        assert manager.harness("sample") is manager.harness("sample")
        assert manager.harness("sample") is not RunManager(Five(), "acme").harness("sample")

    def test_a_constructor_that_fails_is_blamed(self, installed: None) -> None:
        with pytest.raises(KeyError) as caught:
            RunManager(Five(), "acme").register_from("evalx.plugins", "faulty")
        assert caught.value.__notes__ == ['raised by plugin "faulty" (sample 1.5) when an instance was made']


SAMPLE = """
class Sample:
    evalx_api = (1, 0)

class Faulty(Sample):
    def __init__(self):
        raise KeyError("TOKEN")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "sample-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample\nVersion: 1.5\n")
    lines = "sample = sample_for_manager:Sample\n"
    (info / "entry_points.txt").write_text(f"[evalx.harnesses]\n{lines}[evalx.plugins]\n{lines}faulty = sample_for_manager:Faulty\n")
    (tmp_path / "site" / "sample_for_manager.py").write_text(SAMPLE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "sample_for_manager", raising=False)


class TestWrappers:
    def test_a_wrapper_sees_and_changes_the_answer(self) -> None:
        class Relabel:
            @hookimpl(wrapper=True)
            def deploy(self, run: RunContext, endpoint: EndpointSpec) -> Iterator[None]:
                handle = yield
                return evolve(handle, data={"seen": endpoint.name})

        assert hooks(Five(), ("relabel", Relabel())).deploy(ENDPOINT).data == {"seen": "model"}

    def test_what_passes_through_a_wrapper_is_blamed_on_its_origin(self) -> None:
        class Passing:
            @hookimpl(wrapper=True)
            def deploy(self, run: RunContext, endpoint: EndpointSpec) -> Iterator[None]:
                return (yield)

        class Raising:
            @hookimpl(wrapper=True)
            def deploy(self, run: RunContext, endpoint: EndpointSpec) -> Iterator[None]:
                yield
                raise OSError("mine")

        def refuse(self: object, run: RunContext, endpoint: EndpointSpec) -> Any:
            raise OSError("theirs")

        with pytest.raises(OSError, match=r"theirs") as caught:
            hooks(executor("deploy", hookimpl(refuse)), ("passing", Passing())).deploy(ENDPOINT)
        assert 'plugin "acme"' in caught.value.__notes__[0]
        with pytest.raises(OSError, match=r"mine") as caught:
            hooks(Five(), ("passing", Passing()), ("raising", Raising())).deploy(ENDPOINT)
        assert 'plugin "raising"' in caught.value.__notes__[0]

    def test_a_wrong_answer_names_all_who_may_have_given_it(self) -> None:
        class Spoiling:
            @hookimpl(wrapper=True)
            def cleanup(self, run: RunContext, handle: Handle) -> Iterator[None]:
                yield
                return "gone"

        with pytest.raises(PluginError, match=r'plugin "spoiling" .* or plugin "acme" .*: hook cleanup returned a value of type str'):
            hooks(Five(), ("spoiling", Spoiling())).cleanup(TASK_HANDLE)


class Recorder:
    def __init__(self, fail_on: str | None = None, error: BaseException | None = None) -> None:
        self.seen: list[object] = []
        self.fail_on, self.error = fail_on, error or ValueError("first line\nsecond line")

    @hookimpl
    def on_event(self, run: RunContext, event: Event) -> None:
        self.seen.append(event)
        if self.fail_on == "on_event":
            raise self.error

    @hookimpl
    def finish(self, run: RunContext, results: Sequence[TaskResult]) -> None:
        self.seen.append(results)
        if self.fail_on == "finish":
            raise self.error


class TestObservers:
    def test_all_are_told(self) -> None:
        first, second = Recorder(), Recorder()
        run = hooks(Five(), ("first", first), ("second", second))
        run.on_event(EVENT)
        run.finish([])
        assert first.seen == second.seen == [EVENT, []]

    @pytest.mark.parametrize("error", [ValueError("first line\nsecond line"), SystemExit(3)])
    def test_one_that_raises_is_muted_with_one_warning_and_hides_nobody(self, error: BaseException) -> None:
        before, bad, after = Recorder(), Recorder("on_event", error), Recorder()
        warnings: list[str] = []
        run = hooks(Five(), ("before", before), ("bad", bad), ("after", after), on_warning=warnings.append)
        run.on_event(EVENT)
        run.on_event(EVENT)
        run.finish([])
        assert before.seen == after.seen == [EVENT, EVENT, []]
        assert bad.seen == [EVENT]
        (warning,) = warnings
        assert (
            warning.startswith('plugin "bad" (module ')
            and f"failed in on_event and is muted for the rest of the run: {type(error).__name__}" in warning
        )
        assert "second line" not in warning

    def test_muted_is_muted_for_the_run_not_for_one_facade(self) -> None:
        bad = Recorder("on_event")
        manager = RunManager(Five(), "acme", [("bad", bad)])
        run = RunContext(RunPlan("run", "acme", (), ()), None, Path(), manager)
        with capture_logs() as logs:
            manager.hooks(run).on_event(EVENT)
            manager.hooks(run).on_event(EVENT)
        assert [log["log_level"] for log in logs] == ["warning"]
        assert len(bad.seen) == 1

    def test_a_warning_may_be_told_to_the_observers_at_once(self) -> None:
        good, bad = Recorder(), Recorder("on_event")
        run = hooks(Five(), ("good", good), ("bad", bad), on_warning=lambda message: run.on_event(evolve(EVENT, reason=message)))
        run.on_event(EVENT)
        assert [event.reason is None for event in good.seen if isinstance(event, Event)].count(False) == 1

    def test_ctrl_c_in_an_observer_is_not_swallowed(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            hooks(Five(), ("bad", Recorder("on_event", KeyboardInterrupt()))).on_event(EVENT)
