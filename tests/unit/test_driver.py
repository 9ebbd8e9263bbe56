"""The driver over a backend in memory: order, limits, faults, stops and restarts. The store is the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from evalx import calls, driver, failpoints
from evalx.context import RunContext
from evalx.driver import Driver
from evalx.errors import AuthError, EndpointFailed, RunBusy, StoreError, TaskRefused, TransientError
from evalx.hookspecs import hookimpl
from evalx.model import EndpointSpec, Event, Limits, Outcome, TaskSpec
from evalx.store import Store
from evalx.store.states import ResourceState, TaskState
from evalx.testing import Ending, Fault, InMemoryExecutor, World, make_run


class Recorder:
    """An observer that keeps what it is told, and may act on it."""

    def __init__(self, react: Callable[[Event], None] | None = None) -> None:
        self.events: list[Event] = []
        self.react = react

    @hookimpl
    def on_event(self, run: RunContext, event: Event) -> None:
        self.events.append(event)
        if self.react is not None:
            self.react(event)

    def index(self, kind: str, name: str, state: str) -> int:
        return next(i for i, event in enumerate(self.events) if (event.kind, event.name, event.state) == (kind, name, state))


class Bench:
    """One run of the driver after another on the same world and store, each as a process of its own would do it."""

    def __init__(self, path: Path, world: World) -> None:
        self.path = path
        self.world = world
        self.recorder = Recorder()
        self.driver: Driver
        self.run: RunContext

    def go(
        self,
        endpoints: Sequence[EndpointSpec] = (),
        tasks: Sequence[TaskSpec] = (),
        *,
        again: bool = False,
        settle: float = 0.0,
        fail_fast: bool = False,
        ending: str | None = None,
        cancel_after: float | None = None,
        **plan: object,
    ) -> Driver:
        if again:
            known = self.run.plan
            plan = {"run_id": known.run_id, "start": known.start, "limits": known.limits}
            endpoints, tasks = known.endpoints, known.tasks
        plugins = [("recorder", self.recorder)]
        self.run = make_run(self.path, InMemoryExecutor(self.world), endpoints, tasks, plugins=plugins, **plan)  # type: ignore[arg-type]
        with Store() as store, store.open(self.run.run_id) if again else store.create(self.run.plan, self.run.directory, "") as journal:
            hooks = self.run.plugins.hooks(self.run)
            self.driver = Driver(self.run, journal, hooks, settle=settle, fail_fast=fail_fast, ending=ending)
            asyncio.run(self._execute(cancel_after))
        return self.driver

    async def _execute(self, cancel_after: float | None) -> None:
        work = asyncio.ensure_future(self.driver.execute())
        if cancel_after is not None:
            await asyncio.sleep(cancel_after)
            work.cancel()
        await asyncio.gather(work, return_exceptions=cancel_after is not None)

    def states(self) -> dict[str, str]:
        with Store() as store:
            return {record.spec.name: record.state.value for record in store.tasks(self.run.run_id)}

    def outcomes(self) -> dict[str, Outcome]:
        return {result.spec.name: result.outcome for result in self.driver.ledger.results.values()}

    def reason(self, name: str) -> str:
        return next(result.reason or "" for result in self.driver.ledger.results.values() if result.spec.name == name)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def bench(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(calls, "FIRST_BACKOFF", 0.01)
    monkeypatch.setattr(calls, "STOP_GRACE", 0.1)
    return Bench(tmp_path, world)


def endpoint(name: str, index: int = 0, **more: float) -> EndpointSpec:
    return EndpointSpec(name, index, "memory", "m", **more)  # type: ignore[arg-type]


def task(name: str, index: int = 0, on: str | None = None, **more: float) -> TaskSpec:
    return TaskSpec(name, index, "memory", on or name, **more)  # type: ignore[arg-type]


def pairs(*names: str) -> tuple[list[EndpointSpec], list[TaskSpec]]:
    return [endpoint(name, i) for i, name in enumerate(names)], [task(name, i) for i, name in enumerate(names)]


def shared(*names: str) -> tuple[list[EndpointSpec], list[TaskSpec]]:
    return [endpoint("model")], [task(name, i, "model") for i, name in enumerate(names)]


# ---------------------------------------------------------------------- the way it should go


def test_every_task_is_scored_and_nothing_is_left(bench: Bench, world: World) -> None:
    done = bench.go(*pairs("a", "b", "c"))
    assert set(bench.outcomes().values()) == {Outcome.PASSED}
    assert not world.alive and not done.ledger.left and done.fatal is None
    assert set(world.created.values()) == {1} and len(world.created) == 6


def test_the_intent_is_stored_before_the_create_call(bench: Bench, world: World) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []
    bench.recorder.react = lambda event: seen.append((event.state, world.alive)) if event.state == ResourceState.INTENT else None
    bench.go(*pairs("a"))
    assert seen[0] == ("intent", ())
    assert len(seen) == 2 and len(seen[1][1]) == 1  # when the task's intent was stored, only the endpoint existed


def test_a_result_is_stored_before_its_job_is_deleted(bench: Bench, world: World) -> None:
    alive_at_score: list[tuple[str, ...]] = []
    bench.recorder.react = lambda event: alive_at_score.append(world.alive) if event.state == TaskState.SCORED else None
    bench.go(*pairs("a"))
    assert any("-t0" in name for name in alive_at_score[0])


def test_a_task_starts_as_soon_as_its_own_endpoint_is_ready(bench: Bench, world: World) -> None:
    world.add(Fault("wait_ready", "slow", TransientError("not yet"), times=3))
    bench.go(*pairs("slow", "quick"))
    assert bench.recorder.index("task", "quick", "running") < bench.recorder.index("endpoint", "slow", "ready")


def test_all_ready_holds_every_task_back(bench: Bench, world: World) -> None:
    world.add(Fault("wait_ready", "slow", TransientError("not yet"), times=3))
    bench.go(*pairs("slow", "quick"), start="all_ready")
    assert bench.recorder.index("task", "quick", "running") > bench.recorder.index("endpoint", "slow", "ready")
    assert set(bench.outcomes().values()) == {Outcome.PASSED}


def test_all_ready_goes_on_without_an_endpoint_that_failed(bench: Bench, world: World) -> None:
    world.add(Fault("wait_ready", "bad", EndpointFailed("no such image")))
    bench.go(*pairs("bad", "good"), start="all_ready")
    assert bench.outcomes() == {"bad": Outcome.SKIPPED, "good": Outcome.PASSED}


def test_an_endpoint_goes_when_its_last_task_is_over(bench: Bench, world: World) -> None:
    world.endings["long"] = Ending(polls=60)
    bench.go(*pairs("long", "short"))
    assert bench.recorder.index("endpoint", "short", "gone") < bench.recorder.index("task", "long", "scored")


def test_a_shared_endpoint_is_deployed_once_for_all(bench: Bench, world: World) -> None:
    bench.go(*shared("a", "b", "c"))
    assert world.count("deploy") == 1 and world.count("run_task") == 3 and not world.alive


@pytest.mark.parametrize("limit", [1, 2])
def test_limits_bound_what_exists_at_once(bench: Bench, world: World, limit: int) -> None:
    bench.go(*pairs("a", "b", "c", "d"), limits=Limits(max_endpoints=limit))
    assert world.peak["endpoint"] == limit
    assert set(bench.outcomes().values()) == {Outcome.PASSED}


def test_max_tasks_bounds_the_tasks_of_a_shared_endpoint(bench: Bench, world: World) -> None:
    bench.go(*shared("a", "b", "c", "d", "e"), limits=Limits(max_tasks=2))
    assert world.peak["task"] == 2


def test_an_endpoint_that_is_not_ours_is_never_deleted(bench: Bench, world: World) -> None:
    class Borrowed(InMemoryExecutor):
        @hookimpl
        def wait_ready(self, run, handle):  # type: ignore[no-untyped-def]
            from attrs import evolve

            ready = super().wait_ready(run, handle)
            return ready and evolve(ready, owned=False)

    run = make_run(bench.path, Borrowed(world), *pairs("a"))
    with Store() as store, store.create(run.plan, run.directory, "") as journal:
        asyncio.run(Driver(run, journal, run.plugins.hooks(run)).execute())
        states = {record.kind: record.state for record in journal.resources()}
    assert [name for name in world.alive if "-e0" in name] and world.count("cleanup", "a") == 1
    assert states["endpoint"] is ResourceState.GONE


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("hook", ["deploy", "wait_ready", "run_task", "collect", "cleanup"])
def test_transient_errors_are_retried_and_shown(bench: Bench, world: World, hook: str) -> None:
    world.add(Fault(hook, error=TransientError("429 too many requests", retry_after=0.02), times=2))
    bench.go(*pairs("a"))
    assert bench.outcomes() == {"a": Outcome.PASSED} and not world.alive
    if hook != "cleanup":
        assert any(event.kind == "progress" and "429" in (event.reason or "") for event in bench.recorder.events)


@pytest.mark.parametrize("hook", ["deploy", "run_task"])
def test_a_lost_response_creates_nothing_twice(bench: Bench, world: World, hook: str) -> None:
    world.add(Fault(hook, error=TransientError("connection reset"), applied="yes"))
    bench.go(*pairs("a"))
    assert bench.outcomes() == {"a": Outcome.PASSED}
    assert set(world.created.values()) == {1} and not world.alive


@pytest.mark.parametrize("hook", ["deploy", "wait_ready"])
def test_a_failed_endpoint_skips_its_tasks_and_spares_the_others(bench: Bench, world: World, hook: str) -> None:
    world.add(Fault(hook, "bad", EndpointFailed("image pull: no such image", "check deployment.image")))
    done = bench.go(*pairs("bad", "good"))
    assert bench.outcomes() == {"bad": Outcome.SKIPPED, "good": Outcome.PASSED}
    assert "no such image" in bench.reason("bad") and "check deployment.image" in bench.reason("bad")
    assert not world.alive and done.endpoints_ready == {"good"}


def test_refused_credentials_are_remembered(bench: Bench, world: World) -> None:
    world.add(Fault("deploy", error=AuthError("401", "lep login")))
    assert bench.go(*pairs("a")).auth_failed
    assert not world.alive


def test_a_refused_task_fails_alone(bench: Bench, world: World) -> None:
    world.add(Fault("run_task", "a", TaskRefused("bad shape")))
    bench.go(*pairs("a", "b"))
    assert bench.outcomes() == {"a": Outcome.FAILED, "b": Outcome.PASSED} and not world.alive


@pytest.mark.parametrize("hook", ["deploy", "wait_ready", "run_task", "collect"])
def test_a_bug_in_a_plugin_is_blamed_on_it_and_leaves_nothing(bench: Bench, world: World, hook: str) -> None:
    world.add(Fault(hook, "a", KeyError("surprise"), times=None))
    bench.go(*pairs("a", "b"))
    assert bench.outcomes()["b"] is Outcome.PASSED and bench.outcomes()["a"] is not Outcome.PASSED
    assert "surprise" in bench.reason("a") and hook in bench.reason("a") and "InMemoryExecutor" not in world.alive
    assert not world.alive


def test_a_poll_interval_that_raises_fails_its_task_only(bench: Bench, world: World) -> None:
    class Confused(InMemoryExecutor):
        @hookimpl
        def poll_interval(self, run, handle, age):  # type: ignore[no-untyped-def]
            if handle.spec.name == "a":
                raise KeyError("confused")
            return 0.001

    run = make_run(bench.path, Confused(world), *pairs("a", "b"))
    with Store() as store, store.create(run.plan, run.directory, "") as journal:
        done = Driver(run, journal, run.plugins.hooks(run))
        asyncio.run(done.execute())
    outcomes = {result.spec.name: result.outcome for result in done.ledger.results.values()}
    assert outcomes == {"a": Outcome.SKIPPED, "b": Outcome.PASSED} and not world.alive


@pytest.mark.parametrize("method", ["_submit_and_collect", "_bring_up", "_done_or_stopped"])
def test_a_fault_of_the_driver_itself_leaves_nothing(bench: Bench, world: World, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = getattr(Driver, method)

    async def faulty(self: Driver, first: object, *rest: object) -> object:
        result = await whole(self, first, *rest)
        raise ZeroDivisionError(f"after {result}")

    monkeypatch.setattr(Driver, method, faulty)
    done = bench.go(*pairs("a", "b"))
    assert "ZeroDivisionError" in str(done.fatal) and done.fatal is not None and done.fatal.exit_code == 70
    assert not world.alive and not done.left


def test_a_failing_cleanup_is_a_suspected_leak(bench: Bench, world: World) -> None:
    world.add(Fault("cleanup", "a", EndpointFailed("the platform says no"), times=None))
    done = bench.go(*shared("a"))
    assert len(done.ledger.left) == 1 and "-t0" in done.ledger.left[0]
    assert bench.recorder.index("job", "a", "leak_suspected") >= 0
    assert bench.outcomes() == {"a": Outcome.PASSED}


def test_an_endpoint_that_never_answers_ends_at_its_deadline(bench: Bench, world: World) -> None:
    world.polls_until_ready = 10**9
    bench.go([endpoint("a", ready_timeout=0.1)], [task("a")])
    assert bench.outcomes() == {"a": Outcome.SKIPPED} and "not over in time" in bench.reason("a")
    assert not world.alive


def test_a_task_that_never_ends_is_timed_out(bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "HARD_STOP_SLACK", 0.05)
    world.endings["a"] = Ending(polls=10**9)
    bench.go([endpoint("a")], [task("a", timeout=0.05)])
    assert bench.outcomes() == {"a": Outcome.TIMED_OUT} and not world.alive


def test_a_wait_in_which_nothing_moves_is_ended(bench: Bench, world: World) -> None:
    world.add(Fault("wait_ready", error=TransientError("no news"), times=None))
    bench.go([endpoint("a", ready_timeout=0.3)], [task("a")], limits=Limits(no_progress=0.05))
    assert bench.outcomes() == {"a": Outcome.SKIPPED} and not world.alive


@pytest.mark.parametrize(("done", "outcome"), [(7, Outcome.TIMED_OUT), (None, Outcome.PASSED)])
def test_silence_means_something_only_where_progress_was_told(bench: Bench, world: World, done: int | None, outcome: Outcome) -> None:
    class Silent(InMemoryExecutor):
        @hookimpl
        def collect(self, run, handle):  # type: ignore[no-untyped-def]
            result = super().collect(run, handle)
            run.report(handle, "running", done=done)
            return result

    world.endings["a"] = Ending(polls=100)
    world.poll_interval = 0.005
    run = make_run(bench.path, Silent(world), *pairs("a"), limits=Limits(no_progress=0.1))
    with Store() as store, store.create(run.plan, run.directory, "") as journal:
        ended = Driver(run, journal, run.plugins.hooks(run))
        asyncio.run(ended.execute())
    assert ended.ledger.results[0].outcome is outcome and not world.alive


def test_activity_counts_as_progress_and_is_not_told(bench: Bench, world: World) -> None:
    class Busy(InMemoryExecutor):
        polls = 0

        @hookimpl
        def collect(self, run, handle):  # type: ignore[no-untyped-def]
            result = super().collect(run, handle)
            self.polls += 1
            run.report(handle, "running", activity=self.polls)
            return result

    world.endings["a"] = Ending(polls=100)
    world.poll_interval = 0.005
    run = make_run(bench.path, Busy(world), *pairs("a"), limits=Limits(no_progress=0.1))
    with Store() as store, store.create(run.plan, run.directory, "") as journal:
        done = Driver(run, journal, run.plugins.hooks(run))
        asyncio.run(done.execute())
        told = [event for event in store.events(run.run_id) if event.kind == "progress" and event.data["subject"] == "task"]
    assert done.ledger.results[0].outcome is Outcome.PASSED and len(told) == 1


def test_a_hook_that_hangs_does_not_hold_up_the_others(bench: Bench, world: World) -> None:
    world.add(Fault("wait_ready", "a", hang=True))
    try:
        endpoints, tasks = pairs("a", "b")
        bench.go([endpoint("a", 0, ready_timeout=0.2), endpoints[1]], tasks)
        assert bench.outcomes() == {"a": Outcome.SKIPPED, "b": Outcome.PASSED} and not world.alive
    finally:
        world.release()


def test_a_dead_endpoint_is_blamed_for_its_task_and_spares_the_rest(bench: Bench, world: World) -> None:
    world.endings["a"] = Ending(Outcome.FAILED, reason="exit code 1")
    world.add(Fault("wait_ready", error=EndpointFailed("the server exited with code 9"), after=2, times=None))
    bench.go(*shared("a", "b", "c"), limits=Limits(max_tasks=1))
    assert "exited with code 9" in bench.reason("a") and "exit code 1" in bench.reason("a")
    assert bench.outcomes() == {"a": Outcome.FAILED, "b": Outcome.SKIPPED, "c": Outcome.SKIPPED}
    assert world.count("run_task") == 1


def test_fail_fast_stops_the_run(bench: Bench, world: World) -> None:
    world.endings.update(bad=Ending(Outcome.FAILED), long=Ending(polls=10**9))
    done = bench.go(*pairs("bad", "long"), fail_fast=True)
    assert bench.outcomes() == {"bad": Outcome.FAILED, "long": Outcome.CANCELLED}
    assert done.failed_fast and not world.alive


def test_the_budget_of_time_ends_the_run(bench: Bench, world: World) -> None:
    world.endings["a"] = Ending(polls=10**9)
    done = bench.go(*pairs("a"), limits=Limits(max_duration=0.1))
    assert bench.outcomes() == {"a": Outcome.CANCELLED} and "max_duration" in bench.reason("a")
    assert done.stop_code == 6 and not world.alive


# ---------------------------------------------------------------------- stopping


def stop_at(bench: Bench, kind: str, state: str) -> None:
    def react(event: Event) -> None:
        if (event.kind, event.state) == (kind, state):
            bench.driver.stop("interrupted")

    bench.recorder.react = react


@pytest.mark.parametrize(
    ("kind", "state"),
    [("endpoint", "intent"), ("endpoint", "created"), ("endpoint", "ready"), ("job", "intent"), ("job", "created"), ("task", "running")],
)
def test_a_stop_at_any_point_leaves_nothing(bench: Bench, world: World, kind: str, state: str) -> None:
    world.endings["a"] = Ending(polls=10**9)
    stop_at(bench, kind, state)
    done = bench.go(*pairs("a", "b"))
    assert not world.alive and not done.ledger.left
    assert bench.outcomes()["a"] is Outcome.CANCELLED and set(bench.states()) == {"a", "b"}


def test_a_stop_keeps_what_is_finished(bench: Bench, world: World) -> None:
    world.endings["a"] = Ending(polls=0)
    stop_at(bench, "task", "running")
    bench.go(*pairs("a"))
    assert bench.outcomes() == {"a": Outcome.PASSED} and not world.alive


def test_a_hook_deaf_to_the_stop_is_not_waited_for(bench: Bench, world: World) -> None:
    world.add(Fault("deploy", "a", hang=True))

    def react(event: Event) -> None:
        if event.state == "intent":
            asyncio.get_running_loop().call_later(0.05, bench.driver.stop, "interrupted")

    bench.recorder.react = react
    try:
        bench.go(*pairs("a"))
        assert bench.recorder.index("endpoint", "a", "unknown") < bench.recorder.index("endpoint", "a", "gone")
    finally:
        world.release()


def test_giving_up_the_cleanup_tells_what_is_left(bench: Bench, world: World) -> None:
    world.polls_until_gone = 10**9
    done = bench.go(*pairs("a"), cancel_after=0.3)
    assert len(done.ledger.left) == 2 == len(world.alive)


# ---------------------------------------------------------------------- another process


def interrupt_hard(bench: Bench, at: str) -> None:
    """As kill -9 would: from that event on the process is a ghost, whose writes vanish and whose calls reach nobody."""
    dead = False

    def vanish(*args: object, **more: object) -> Event:
        return Event(0, 0.0, "", "ghost")

    def react(event: Event) -> None:
        nonlocal dead
        if not dead and f"{event.kind}:{event.state}" == at:
            dead = True
            for method in ("resource", "task", "run", "note"):
                setattr(bench.driver.journal, method, vanish)
            bench.run.plugins.executor.world = World()  # type: ignore[attr-defined]
            bench.driver.stop("killed")

    bench.recorder.react = react
    bench.go(*pairs("a", "b"))
    assert dead
    bench.recorder = Recorder()


POINTS = ["endpoint:intent", "endpoint:created", "endpoint:ready", "job:intent", "job:created", "task:running", "task:scored"]


@pytest.mark.parametrize("point", POINTS)
def test_resume_after_a_crash_finishes_without_doing_anything_twice(bench: Bench, world: World, point: str) -> None:
    interrupt_hard(bench, point)
    scored = {name for name, state in bench.states().items() if state == "scored"}
    submitted = {name: world.count("run_task", name) for name in scored}
    bench.go(again=True)
    assert set(bench.outcomes().values()) == {Outcome.PASSED} and not world.alive
    assert set(world.created.values()) == {1}
    assert submitted == {name: world.count("run_task", name) for name in scored}


@pytest.mark.parametrize("point", POINTS)
def test_cleanup_after_a_crash_leaves_nothing_and_loses_no_score(bench: Bench, world: World, point: str) -> None:
    interrupt_hard(bench, point)
    scored = {name for name, state in bench.states().items() if state == "scored"}
    before = world.count("deploy"), world.count("run_task")
    done = bench.go(again=True, ending="cleaned up")
    assert not world.alive and not done.ledger.left
    assert before == (world.count("deploy"), world.count("run_task"))
    assert scored <= {name for name, outcome in bench.outcomes().items() if outcome is Outcome.PASSED}
    bench.go(again=True, ending="again")
    assert not world.alive


def test_resume_replaces_an_endpoint_that_died_meanwhile(bench: Bench, world: World) -> None:
    interrupt_hard(bench, "endpoint:ready")
    world.add(Fault("wait_ready", "a", EndpointFailed("the server is gone")))
    done = bench.go(again=True)
    assert bench.outcomes() == {"a": Outcome.PASSED, "b": Outcome.PASSED}
    assert world.count("deploy", "a") == 2 and not world.alive and not done.ledger.left


def test_resume_replaces_an_endpoint_whose_end_shows_only_later(bench: Bench, world: World) -> None:
    world.polls_until_ready = 10
    interrupt_hard(bench, "endpoint:created")
    world.add(Fault("wait_ready", "a", EndpointFailed("the server is gone"), after=1))
    done = bench.go(again=True)
    assert bench.outcomes() == {"a": Outcome.PASSED, "b": Outcome.PASSED}
    assert world.count("deploy", "a") == 2 and not world.alive and not done.ledger.left


def test_a_replaced_endpoint_that_cannot_be_deleted_is_not_forgotten(bench: Bench, world: World) -> None:
    interrupt_hard(bench, "endpoint:ready")
    world.add(Fault("wait_ready", "a", EndpointFailed("the server is gone")))
    world.add(Fault("cleanup", "a", EndpointFailed("the platform says no")))
    done = bench.go(again=True)
    assert bench.outcomes() == {"a": Outcome.PASSED, "b": Outcome.PASSED}
    assert len(done.ledger.left) == 1
    assert not bench.go(again=True, ending="cleaned up").ledger.left and not world.alive


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.CANCELLED])
def test_resume_runs_again_what_was_deleted_or_stopped_meanwhile(bench: Bench, world: World, outcome: Outcome) -> None:
    interrupt_hard(bench, "task:running")
    world.endings["a"] = Ending(outcome)
    bench.go(again=True)
    assert world.count("run_task", "a") == 2 and bench.outcomes() == {"a": outcome, "b": Outcome.PASSED}
    assert not world.alive


def test_resume_tries_again_what_has_no_score(bench: Bench, world: World) -> None:
    world.endings["a"] = Ending(Outcome.FAILED)
    bench.go(*pairs("a", "b"))
    world.endings.clear()
    bench.go(again=True)
    assert bench.outcomes() == {"a": Outcome.PASSED, "b": Outcome.PASSED}
    assert world.count("run_task", "a") == 2 and world.count("run_task", "b") == 1
    assert bench.driver.ledger.results[0].spec.attempt == 1 and not world.alive


def test_resume_removes_what_an_earlier_attempt_left(bench: Bench, world: World) -> None:
    world.endings["a"] = Ending(Outcome.FAILED)
    world.add(Fault("cleanup", error=EndpointFailed("the platform says no"), times=2))
    assert bench.go(*pairs("a")).ledger.left
    done = bench.go(again=True)
    assert not world.alive and not done.ledger.left


def test_a_create_that_arrives_late_is_found_after_the_settle_window(bench: Bench, world: World) -> None:
    world.add(Fault("deploy", "a", TransientError("timeout"), times=None, applied="late"))
    done = bench.go([endpoint("a", ready_timeout=0.05)], [task("a")], settle=0.2)
    assert not world.alive and not done.ledger.left


def test_without_a_settle_window_a_late_create_would_leak(bench: Bench, world: World) -> None:
    world.add(Fault("deploy", "a", TransientError("timeout"), times=None, applied="late"))
    bench.go([endpoint("a", ready_timeout=0.05)], [task("a")], settle=0.0)
    assert world.alive


# ---------------------------------------------------------------------- a store that fails


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_store_that_fails_at_any_write_stops_the_run_and_leaves_nothing(
    bench: Bench, world: World, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalx.store import Journal

    writes = 0
    for method in ("resource", "task", "run", "note"):
        write = getattr(Journal, method)

        def failing(self: Journal, *args: object, _write: Callable[..., Event] = write, **more: object) -> Event:
            nonlocal writes
            writes += 1
            if writes >= nth:
                raise StoreError("disk full")
            return _write(self, *args, **more)

        monkeypatch.setattr(Journal, method, failing)
    done = bench.go(*pairs("a"))
    assert isinstance(done.fatal, StoreError) and not world.alive
    if nth == 1:
        assert not world.created


def test_a_folder_for_logs_that_cannot_be_made_is_no_failure(bench: Bench, world: World) -> None:
    def block(event: Event) -> None:
        with suppress(FileExistsError):
            (bench.run.directory / "endpoints").touch(exist_ok=False)

    bench.recorder.react = block
    done = bench.go(*pairs("a"))
    assert done.fatal is None and not world.alive and bench.outcomes() == {"a": Outcome.PASSED}


def test_a_run_taken_over_by_another_process_is_left_alone(bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalx.store import Journal

    def lost(self: Journal, *args: object, **more: object) -> Event:
        raise RunBusy("owned by process 7")

    bench.recorder.react = lambda event: monkeypatch.setattr(Journal, "task", lost) if event.state == "ready" else None
    done = bench.go(*pairs("a"))
    assert isinstance(done.fatal, RunBusy)
    assert world.alive and world.count("cleanup") == 0


# ---------------------------------------------------------------------- what belongs to the run as a whole


class Tidy(InMemoryExecutor):
    """An executor with something of the run's own to delete at the end."""

    answers: list[bool | Exception]

    @hookimpl
    def teardown(self, run: RunContext) -> bool:
        self.alive_at_teardown = self.world.alive
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(("answers", "left"), [([False, TransientError("429"), True], 0), ([EndpointFailed("the platform says no")], 1)])
def test_the_run_itself_is_torn_down_last_and_what_stays_is_told(
    bench: Bench, world: World, answers: list[bool | Exception], left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "TEARDOWN_PAUSE", 0.01)
    executor = Tidy(world)
    executor.answers = list(answers)
    run = make_run(bench.path, executor, *pairs("a"))
    with Store() as store, store.create(run.plan, run.directory, "") as journal:
        done = Driver(run, journal, run.plugins.hooks(run))
        asyncio.run(done.execute())
    assert executor.alive_at_teardown == () and not executor.answers
    assert len(done.left) == left


def test_a_task_whose_job_was_deleted_without_a_result_is_run_anew(bench: Bench, world: World) -> None:
    """Its flow came to grief, so its job went with the rest; what killing it has left is not its result."""
    failpoints.arm("create.recorded:2:raise")
    try:
        done = bench.go(*pairs("a"))
    finally:
        failpoints.arm("")
    assert done.fatal is not None and not world.alive and bench.states() == {"a": "submitted"}
    bench.go(again=True)
    assert bench.states() == {"a": "scored"} and not world.alive
    assert "lost" not in [event.state for event in bench.recorder.events], "nobody looks for what is known to be gone"


@pytest.mark.parametrize("hit", range(1, 12))
@pytest.mark.parametrize("place", ["commit.before", "commit.after", "events.written"])
def test_a_fault_of_evalx_in_the_middle_of_a_commit_ends_the_run(bench: Bench, world: World, place: str, hit: int) -> None:
    """Nobody waits for ever for a commit that will not come."""
    bench.go(*pairs("b"))
    failpoints.arm(f"{place}:{hit}:raise")
    with suppress(failpoints.Failpoint):
        done = bench.go(*pairs("a"))
        assert done.fatal is not None or bench.outcomes() == {"a": Outcome.PASSED}
    failpoints.arm("")
    assert not world.alive
