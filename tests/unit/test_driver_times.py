"""What the driver does when, and what it says of it: to the second, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalx import calls, driver, failpoints, ledger, lifecycle, redaction
from evalx.driver import Driver
from evalx.errors import AuthError, EndpointFailed, ExitCode, RunBusy, StoreError, TransientError
from evalx.model import EndpointSpec, Event, Limits, Outcome, Spec, TaskSpec
from evalx.reasons import apart
from evalx.store import Journal
from evalx.store.states import ResourceState, TaskState
from evalx.testing import Ending, Fault

from .timed import READY, TIMEOUT, Bench, endpoint, task
from .virtual import EPOCH, Clock, Hangs

SETTLE = 10.0
FOR_EVER = 10**9


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    clock = Clock()
    for module in (ledger, driver):
        monkeypatch.setattr(module, "time", clock)
    return Bench(tmp_path, clock)


def near(*seconds: float) -> Any:
    return pytest.approx(list(seconds), abs=0.05)


def said(bench: Bench) -> str:
    """The reason of the task's result, without what to do about it."""
    return apart(bench.result().reason or "")[0]


def hints(bench: Bench) -> list[str]:
    """What to do about it."""
    return apart(bench.result().reason or "")[1]


# ---------------------------------------------------------------------- a run as it should be


def test_a_run_in_order(bench: Bench) -> None:
    done = bench.go()
    wanted = {
        "call deploy a": 0,
        "endpoint a created": 0,
        "call wait_ready a": 0,
        "endpoint a ready": 5,
        "call run_task a": 5,
        "task a running": 5,
        "call collect a": 5,
        "task a scored": 10,
        "job a deleting": 10,
        "job a gone": 10,
        "endpoint a deleting": 10,
        "endpoint a gone": 10,
        "call teardown": 10,
    }
    seen = {what: bench.trace.when(what)[0] for what in wanted}
    assert seen == pytest.approx(wanted, abs=0.05)
    assert bench.trace.order(*wanted, "call cleanup a")[-7:] == [
        "job a deleting",
        "call cleanup a",
        "job a gone",
        "endpoint a deleting",
        "call cleanup a",
        "endpoint a gone",
        "call teardown",
    ]
    assert (done.stop_reason, done.stop_code, done.fatal, done.left) == (None, None, None, ())
    assert done.endpoints_ready == {"a"}
    assert not (done.auth_failed or done.failed_fast or done.at_once)
    assert bench.executor.pool.shut == [{"wait": False, "cancel_futures": True}]


def test_looks_become_due_by_the_age_of_what_is_waited_for(bench: Bench) -> None:
    bench.world.polls_until_ready, bench.world.polls_until_done, bench.world.polls_until_gone = 2, 3, 1
    bench.go([endpoint("e")], [task("t", on="e")])
    assert bench.executor.ages == [("e", 0), ("e", 5), ("t", 0), ("t", 5), ("t", 10), ("t", 0), ("e", 0)]


def test_without_limits_all_go_at_once_and_with_them_in_turn(bench: Bench) -> None:
    bench.go("abc")
    assert [bench.trace.when(f"call run_task {name}")[0] for name in "abc"] == near(5, 5, 5)
    bench.go("abc", limits=Limits(max_endpoints=2))
    assert [bench.trace.when(f"call deploy {name}")[1] for name in "abc"] == near(10, 10, 20)
    bench.go([endpoint("m")], [task(name, index, "m") for index, name in enumerate("abc")], limits=Limits(max_tasks=2))
    assert [bench.trace.when(f"call run_task {name}")[2] for name in "abc"] == near(35, 35, 40)


def test_all_ready_waits_for_the_last(bench: Bench) -> None:
    bench.world.add(Fault("wait_ready", "b", TransientError("busy", 30.0)))
    bench.go("ab", start="all_ready")
    ready = bench.trace.when("endpoint b ready")[0]
    assert ready > 30 and [bench.trace.when(f"call run_task {name}")[0] for name in "ab"] == near(ready, ready)


# ---------------------------------------------------------------------- what ends a run


def test_max_duration_counts_what_other_processes_have_worked(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    done = bench.go(limits=Limits(max_duration=60.0), worked=45.0)
    assert bench.trace.when("run  cancelling") == near(15)
    assert (done.stop_reason, done.stop_code) == ("max_duration of 60 s reached", ExitCode.DEADLINE)
    assert bench.trace.reasons("run  cancelling") == [done.stop_reason]
    assert (bench.result().outcome, bench.result().reason) == (Outcome.CANCELLED, done.stop_reason)


def test_the_first_reason_counts(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    bench.executor.takes["cleanup"] = 5.0
    stops = {
        7.0: lambda run: run.stop("first", ExitCode.SIGINT),
        8.0: lambda run: run.stop("second", ExitCode.SIGTERM, at_once=True),
        9.0: lambda run: run.stop("third"),
    }
    done = bench.go(at=stops)
    assert (done.stop_reason, done.stop_code, done.at_once) == ("first", ExitCode.SIGINT, True)
    assert bench.trace.reasons("run  cancelling") == ["first"] and bench.result().reason == "first"
    assert bench.run.stopping.is_set()


def test_a_run_that_is_only_ended_creates_nothing(bench: Bench) -> None:
    done = bench.go(ending="cleaned up")
    assert bench.run.stopping.is_set() and done.stop_reason == "cleaned up"
    assert not bench.world.created and bench.trace.when("run  cancelling") == []


def test_what_is_not_asked_for_is_not_done(bench: Bench) -> None:
    """Without fail-fast others go on, a run begins with all of its time, and no window to settle is waited for."""
    bench.world.endings.update(a=Ending(Outcome.FAILED), b=Ending(polls=FOR_EVER))
    bench.world.add(Fault("deploy", "c", error=TransientError("no answer", retry_after=3600.0)))
    bench.go("abc", limits=Limits(max_duration=60.0))
    assert bench.trace.when("run  cancelling") == near(60) and bench.trace.when("call cleanup c") == near(0)


def test_a_watch_may_end_the_run(bench: Bench) -> None:
    async def watch(stop: Callable[[str, ExitCode], None]) -> None:
        await asyncio.sleep(3.0)
        stop("too dear", ExitCode.DEADLINE)

    done = bench.go(watch=watch)
    assert bench.trace.when("run  cancelling") == near(3) and (done.stop_reason, done.stop_code) == ("too dear", ExitCode.DEADLINE)


def test_a_score_that_cannot_be_written_down_ends_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    error, write = StoreError("disk full"), Journal.task

    def failing(journal: Journal, spec: TaskSpec, state: TaskState, **more: Any) -> Event:
        if state is TaskState.SCORED:
            raise error
        return write(journal, spec, state, **more)

    monkeypatch.setattr(Journal, "task", failing)
    assert bench.go().fatal is error and not bench.world.alive


def test_fail_fast_says_what_has_failed(bench: Bench) -> None:
    bench.world.endings.update(b=Ending(polls=FOR_EVER), a=Ending(Outcome.FAILED))
    done = bench.go("ab", fail_fast=True)
    assert done.failed_fast and done.stop_reason == "task a: failed (fail-fast)" == bench.result("b").reason
    bench.world.add(Fault("deploy", "a", EndpointFailed("no such image")))
    done = bench.go("ab", fail_fast=True)
    assert done.failed_fast and done.stop_reason == "endpoint a failed (fail-fast)" == bench.result("b").reason


def test_after_a_stop_nothing_has_failed_fast(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    done = bench.go(at={7.0: lambda run: run.stop("interrupted")}, fail_fast=True)
    assert not done.failed_fast and done.stop_reason == "interrupted"


def test_the_run_is_told_that_its_process_is_alive(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[float] = []

    def beat(journal: Journal) -> None:
        beats.append(bench.clock.now)
        if len(beats) == 3:
            raise RunBusy("taken over by process 7")

    monkeypatch.setattr(Journal, "heartbeat", beat)
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    done = bench.go()
    assert beats == near(15, 30, 45) and isinstance(done.fatal, RunBusy) and done.stop_reason == "taken over by process 7"
    assert bench.trace.when("call cleanup a") == [] == bench.trace.when("call teardown"), "it belongs to somebody else"
    assert len(bench.world.alive) == 2 and done.left


def test_a_store_that_fails_is_the_reason(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    error = StoreError("disk full", "make room")
    monkeypatch.setattr(Journal, "heartbeat", lambda journal: (_ for _ in ()).throw(error))
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    done = bench.go()
    assert done.fatal is error and done.stop_reason == "disk full" and not bench.world.alive


@pytest.mark.parametrize("kind", [EndpointSpec, TaskSpec])
def test_what_cannot_be_written_down_is_not_created(bench: Bench, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    error, write = StoreError("disk full"), Journal.resource

    def failing(journal: Journal, spec: Spec, name: str, state: ResourceState, **more: Any) -> Event:
        if state is ResourceState.INTENT and isinstance(spec, kind):
            raise error
        return write(journal, spec, name, state, **more)

    monkeypatch.setattr(Journal, "resource", failing)
    done = bench.go()
    assert done.fatal is error and done.stop_reason == "disk full" and not bench.world.alive
    assert (bench.result().outcome, bench.result().reason) == (Outcome.CANCELLED, "disk full")
    assert bench.world.count("deploy" if kind is EndpointSpec else "run_task") == 0


def test_after_a_stop_nothing_is_asked_for(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    tasks = [task("a", on="e"), task("b", 1, on="e")]
    bench.go([endpoint("e")], tasks, limits=Limits(max_tasks=1), at={7.0: lambda run: run.stop("interrupted")})
    assert bench.trace.when("job b intent") == [] and bench.result("b").outcome is Outcome.CANCELLED


# ---------------------------------------------------------------------- endpoints


def test_an_endpoint_is_given_up_at_its_deadline(bench: Bench) -> None:
    bench.world.polls_until_ready = FOR_EVER
    bench.executor.says = {"phase": "pulling", "reason": "12 of 40 GB"}
    bench.go()
    assert bench.trace.when("endpoint a degraded") == near(READY)
    hint = f"give it longer, or see its log: evalx logs {bench.run.run_id} --endpoint a"
    told = f"not over in time; last seen: pulling (12 of 40 GB) (hint: {hint})"
    assert bench.trace.reasons("endpoint a degraded") == [told]
    assert (bench.result().outcome, bench.result().reason) == (Outcome.SKIPPED, f"endpoint a: {told}")
    assert bench.trace.progress("a") == [("pulling", "12 of 40 GB")]


def test_a_hint_is_enough(bench: Bench) -> None:
    bench.world.polls_until_ready = FOR_EVER
    bench.executor.says = {"phase": "starting", "reason": "no capacity (hint: take another shape)"}
    bench.go()
    assert bench.result().reason == "endpoint a: not over in time; last seen: starting (no capacity (hint: take another shape))"


@pytest.mark.parametrize(("killed_at", "later", "seconds"), [(100.0, 0.0, READY), (100.0, 200.0, READY), (100.0, 5000.0, 5101.0)])
def test_the_time_of_an_endpoint_goes_on_in_the_next_process(bench: Bench, killed_at: float, later: float, seconds: float) -> None:
    """However late that is, one look is taken."""
    bench.world.polls_until_ready = FOR_EVER
    bench.go(killed_at=killed_at)
    bench.clock.now += later
    bench.go(again=True)
    assert bench.trace.when("endpoint a degraded") == near(seconds)


def test_an_adopted_endpoint_that_died_gives_way_to_the_next(bench: Bench) -> None:
    bench.go(killed_at=3.0)
    bench.world.add(Fault("wait_ready", error=EndpointFailed("it is gone", "look at the machine")))
    bench.go(again=True)
    assert bench.trace.reasons("endpoint a degraded") == ["it is gone (hint: look at the machine)"]
    wanted = ["endpoint a degraded", "call cleanup a", "endpoint a gone", "call deploy a"]
    assert bench.trace.order(*wanted)[1:5] == wanted
    assert bench.result().outcome is Outcome.PASSED


def test_an_endpoint_of_this_process_that_dies_does_not(bench: Bench) -> None:
    bench.world.add(Fault("wait_ready", error=EndpointFailed("it is gone")))
    done = bench.go()
    assert bench.world.count("deploy") == 1 and bench.result().outcome is Outcome.SKIPPED
    assert list(done.dead) == ["a"] and not done.endpoints_ready


def test_one_that_is_not_ours_is_left_and_the_advice_is_another(bench: Bench) -> None:
    bench.executor.owned = False
    bench.go()
    assert bench.trace.reasons("endpoint a gone") == ["not ours: left as it was"] and bench.trace.when("endpoint a deleting") == []
    assert len(bench.world.alive) == 1 and bench.world.count("cleanup") == 1


def test_one_that_is_not_ours_and_does_not_answer(bench: Bench) -> None:
    bench.executor.owned = False
    bench.world.polls_until_ready = FOR_EVER
    bench.go()
    hint = "give it longer, or look whether target.api_endpoint.url is right"
    assert bench.result().reason == f"endpoint a: not over in time; last seen: starting (hint: {hint})"


def test_refused_credentials_of_one_endpoint_are_remembered(bench: Bench) -> None:
    bench.world.add(Fault("deploy", "a", AuthError("401")))
    bench.world.add(Fault("wait_ready", "b", EndpointFailed("no such image")))
    assert bench.go("ab").auth_failed


def test_refused_credentials_of_a_task(bench: Bench) -> None:
    bench.world.add(Fault("run_task", "a", AuthError("401", "lep login")))
    bench.world.add(Fault("collect", "b", EndpointFailed("no such job")))
    done = bench.go("ab")
    assert done.auth_failed and bench.result().reason == "401 (hint: lep login)"
    assert bench.result().started == pytest.approx(EPOCH + 5, abs=0.05) == bench.result().ended


# ---------------------------------------------------------------------- tasks


def test_a_task_has_its_time_and_a_little_more(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    bench.executor.says = {"phase": "running"}
    bench.go(limits=Limits(no_progress=60.0))
    over = 5 + TIMEOUT + driver.HARD_STOP_SLACK
    assert bench.trace.when("task a timed_out") == near(over)
    result = bench.result()
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "not over in time; last seen: running")
    assert (result.started, result.ended) == (pytest.approx(EPOCH + 5, abs=0.05), pytest.approx(EPOCH + over, abs=0.05))


@pytest.mark.parametrize("told", [{"done": 3}, {"activity": 3}])
def test_silence_is_noticed_where_progress_was_told(bench: Bench, told: dict[str, int]) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    bench.executor.says = {"phase": "running", "reason": "asking", **told}
    bench.go(limits=Limits(no_progress=120.0))
    assert said(bench) == "no progress for 120 s; last seen: running (asking)"
    assert hints(bench)[0].startswith("raise execution.no_progress_timeout")
    assert bench.trace.when("task a timed_out") == near(5 + 125)


def test_the_time_of_a_task_goes_on_in_the_next_process(bench: Bench) -> None:
    """It counts from when the task was seen to run, where the executor can tell."""
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    bench.executor.says = {"phase": "queueing", "queued": True}
    begin = {32.0: lambda run: bench.executor.says.update(phase="running", queued=False)}
    bench.go(at=begin, killed_at=100.0, limits=Limits(queue=300.0))
    assert bench.trace.when("task a running") == near(35)
    bench.go(again=True)
    assert bench.trace.when("task a timed_out") == near(35 + TIMEOUT + driver.HARD_STOP_SLACK)
    assert bench.world.count("run_task") == bench.world.count("deploy") == 1


def test_a_task_without_a_score_is_tried_again_by_the_next_process(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(Outcome.FAILED)
    bench.go()
    bench.world.endings.clear()
    bench.go(again=True)
    assert (bench.result().outcome, bench.result().spec.attempt) == (Outcome.PASSED, 1)
    assert bench.trace.when("task a lost") == [], "nobody looks for what is known to be over"


def test_a_job_that_somebody_has_deleted_meanwhile_is_run_again(bench: Bench) -> None:
    bench.go(killed_at=7.0)
    bench.world.lose(next(name for name in bench.world.alive if "-t0" in name))
    bench.go(again=True)
    assert (bench.result().outcome, bench.result().spec.attempt) == (Outcome.PASSED, 1)
    bench.world.endings["a"] = Ending(Outcome.LOST, reason="evicted")
    bench.go()
    assert (bench.result().outcome, bench.result().spec.attempt) == (Outcome.LOST, 0), "one of this process is not"


def test_a_task_that_waits_too_long_for_the_platform(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    bench.executor.says = {"phase": "queueing", "queued": True}
    bench.go(limits=Limits(queue=300.0))
    assert bench.trace.when("task a timed_out") == near(305) and bench.trace.when("task a running") == []
    assert bench.result().reason == "not started by the platform within 300 s; last seen: queueing"


@pytest.mark.parametrize(
    ("hook", "outcome"), [("deploy", Outcome.SKIPPED), ("run_task", Outcome.TIMED_OUT), ("wait_ready", Outcome.SKIPPED)]
)
def test_a_hook_that_hangs_is_named(bench: Bench, hook: str, outcome: Outcome) -> None:
    bench.world.add(Fault(hook, error=Hangs(), times=None))
    bench.go()
    seen = "; last seen: nothing" if hook == "wait_ready" else ""
    assert bench.result().outcome is outcome
    assert said(bench).removeprefix("endpoint a: ") == f"{hook}: the executor's hook did not return in time{seen}"


def test_an_executor_that_cannot_say_when_to_look_again_is_blamed(bench: Bench) -> None:
    bench.executor.mistaken = True
    bench.go()
    assert (bench.result().reason or "").startswith("endpoint a: poll_interval: KeyError: 'surprise'")


def test_a_look_may_last_beyond_the_end_but_not_long(bench: Bench) -> None:
    """The last one begins two seconds before the endpoint's time is over."""
    bench.world.polls_until_ready, bench.world.poll_interval = 1, 8.0
    bench.executor.takes["wait_ready"] = 3.0
    bench.go([endpoint("a", ready_timeout=10.0)], [task("a")])
    assert bench.result().outcome is Outcome.SKIPPED
    assert bench.trace.when("endpoint a degraded") == near(12.0)


def test_a_look_that_does_not_return_tells_what_was_seen_before(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    bench.world.add(Fault("collect", error=Hangs(), after=1))
    bench.go()
    assert said(bench) == "collect: the executor's hook did not return in time; last seen: running"
    assert hints(bench)[0].endswith("evalx doctor")
    assert bench.trace.when("task a timed_out") == near(5 + TIMEOUT + driver.HARD_STOP_SLACK)


def test_a_look_that_fails_says_how_old_the_last_one_is(bench: Bench) -> None:
    bench.world.add(Fault("collect", error=TransientError("HTTP 503", 2.0), times=2))
    bench.world.add(Fault("collect", error=TransientError("HTTP 503", 2.0), after=1))
    bench.go()
    assert ("unknown", "HTTP 503") in bench.trace.progress("a") and ("unknown", "HTTP 503; 5 s ago: running") in bench.trace.progress("a")


def test_a_create_call_that_is_tried_again_is_told(bench: Bench) -> None:
    bench.world.add(Fault("deploy", error=TransientError("HTTP 429")))
    bench.go()
    assert ("retrying", "HTTP 429") in bench.trace.progress("a")


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NO_RESULT, Outcome.LOST])
def test_a_dead_endpoint_is_blamed(bench: Bench, outcome: Outcome) -> None:
    bench.executor.takes["wait_ready"] = 3.0
    bench.world.endings["a"] = Ending(outcome, reason="exit code 1")
    bench.world.add(Fault("wait_ready", error=EndpointFailed("out of memory", "take more"), after=2))
    done = bench.go()
    assert (bench.result().outcome, bench.result().reason) == (outcome, "endpoint a: out of memory (hint: take more); exit code 1")
    assert {name: str(error) for name, error in done.dead.items()} == {"a": "out of memory"}


@pytest.mark.parametrize("error", [None, TransientError("busy"), Hangs()])
def test_one_that_is_well_or_does_not_say_is_not_blamed(bench: Bench, error: BaseException | None) -> None:
    bench.world.endings["a"] = Ending(Outcome.FAILED, reason="exit code 1")
    if error is not None:
        bench.world.add(Fault("wait_ready", error=error, after=2, times=None))
    done = bench.go()
    assert bench.result().reason == "exit code 1" and not done.dead and bench.world.count("wait_ready") >= 3
    assert bench.trace.when("task a failed")[0] <= 10 + (driver.LAST_LOOK if error else 0) + 0.1


def test_nobody_asks_whether_an_endpoint_is_well_when_its_task_is(bench: Bench) -> None:
    bench.go()
    assert bench.world.count("wait_ready") == 2


# ---------------------------------------------------------------------- stopping a task


def interrupted(bench: Bench, at: float = 7.0, **more: Any) -> list[float]:
    """Stop the run at that second; when its task was looked at after that."""
    bench.go(at={at: lambda run: run.stop("interrupted", **more)})
    return [seconds for seconds in bench.trace.when("call collect a") if seconds >= at]


def test_a_task_that_is_stopped_is_looked_at_and_cancelled_and_waited_for(bench: Bench) -> None:
    bench.world.endings["a"], bench.executor.obeys = Ending(polls=FOR_EVER), 2
    assert interrupted(bench) == near(7.0, 7.3, 7.6, 7.9)
    assert bench.result().outcome is Outcome.PASSED and bench.trace.when("call cancel a") == near(7.0)


def test_it_is_waited_for_no_longer_than_a_few_seconds(bench: Bench) -> None:
    bench.world.endings["a"], bench.executor.obeys = Ending(polls=FOR_EVER), FOR_EVER
    assert len(interrupted(bench)) == 1 + driver.CANCEL_LOOKS
    assert bench.trace.when("task a cancelled") == near(7.0 + driver.CANCEL_GRACE)


def test_what_ends_otherwise_when_it_is_stopped_was_cancelled(bench: Bench) -> None:
    bench.world.endings["a"], bench.executor.obeys, bench.executor.ends = Ending(polls=FOR_EVER), 1, Outcome.FAILED
    interrupted(bench)
    assert (bench.result().outcome, bench.result().reason) == (Outcome.CANCELLED, "interrupted")


def test_what_cannot_be_cancelled_is_not_waited_for(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    assert interrupted(bench) == near(7.0)
    assert bench.executor.cancelled == 1 and bench.trace.when("task a cancelled") == near(7.0)


def test_at_once_means_that_nothing_is_waited_for(bench: Bench) -> None:
    bench.world.endings["a"], bench.executor.obeys = Ending(polls=FOR_EVER), FOR_EVER
    assert interrupted(bench, at_once=True) == near(7.0)
    assert not bench.executor.cancelled


def test_a_second_stop_ends_the_waiting(bench: Bench) -> None:
    bench.world.endings["a"], bench.executor.obeys = Ending(polls=FOR_EVER), FOR_EVER
    bench.go(at={7.0: lambda run: run.stop("interrupted"), 8.0: lambda run: run.stop("again", at_once=True)})
    assert bench.trace.when("task a cancelled") == near(8.2)


def test_a_last_look_that_fails_is_told(bench: Bench) -> None:
    bench.world.endings["a"] = Ending(polls=FOR_EVER)
    bench.world.add(Fault("collect", error=EndpointFailed("no such job"), after=1))
    interrupted(bench)
    assert (bench.result().outcome, bench.result().reason) == (Outcome.CANCELLED, "interrupted; its last state is unknown: no such job")
    assert bench.result().started == pytest.approx(EPOCH + 5, abs=0.05) and bench.result().ended == pytest.approx(EPOCH + 7, abs=0.05)


@pytest.mark.parametrize(("hook", "looks"), [("collect", 1), ("collect", 2), ("cancel", 0)])
def test_a_last_look_that_hangs_is_given_up(bench: Bench, hook: str, looks: int) -> None:
    """The look itself, the cancelling that follows, or the look after that."""
    bench.world.endings["a"], bench.executor.obeys = Ending(polls=FOR_EVER), FOR_EVER
    bench.world.add(Fault(hook, error=Hangs(), after=looks, times=None))
    interrupted(bench)
    assert bench.trace.when("task a cancelled") == near(7.0 + driver.LAST_LOOK)
    assert bench.result().reason == f"interrupted; its last state is unknown: {hook}: the executor's hook did not return in time"


def test_a_task_of_which_nothing_was_asked_has_no_start(bench: Bench) -> None:
    bench.world.polls_until_ready = FOR_EVER
    bench.go(at={7.0: lambda run: run.stop("interrupted")})
    assert (bench.result().outcome, bench.result().started, bench.result().reason) == (Outcome.CANCELLED, None, "interrupted")


# ---------------------------------------------------------------------- creating


def test_a_create_call_of_another_process_is_waited_out(bench: Bench) -> None:
    """It was asked for, and nobody knows whether it will still appear."""
    bench.world.add(Fault("deploy", error=Hangs()))
    bench.go(killed_at=3.0)
    bench.go(again=True, settle=SETTLE)
    assert bench.trace.when("call deploy a") == near(0, 3 + SETTLE)


def test_what_may_still_appear_is_deleted_twice(bench: Bench) -> None:
    bench.world.add(Fault("deploy", error=TransientError("no answer", retry_after=3600.0)))
    bench.executor.takes["deploy"] = 4.0
    bench.go(settle=SETTLE)
    assert bench.trace.when("endpoint a unknown") == near(4)
    assert bench.trace.when("call cleanup a") == near(4, 4 + SETTLE) and bench.trace.when("endpoint a gone") == near(4 + SETTLE)


def test_what_was_deleted_long_enough_after_it_was_asked_for_is_asked_about_again_at_once(bench: Bench) -> None:
    bench.world.add(Fault("deploy", error=TransientError("no answer", retry_after=3600.0), applied="yes"))
    bench.world.polls_until_gone = 3
    bench.go(settle=SETTLE)
    assert bench.trace.when("call cleanup a") == near(0, 5, 10, 15, 15)


@pytest.mark.parametrize(("later", "asked"), [(0.0, [11.0, 5.0 + SETTLE]), (100.0, [111.0, 111.0])])
def test_a_job_that_is_stopped_is_deleted_again_once_lists_must_show_its_twin(bench: Bench, later: float, asked: list[float]) -> None:
    """By the next process, for which its age counts."""
    bench.world.endings["t"] = Ending(polls=FOR_EVER)
    bench.go([endpoint("e")], [task("t", on="e")], killed_at=9.0, settle=SETTLE)
    bench.clock.now += later
    bench.go(again=True, at={11.0 + later: lambda run: run.stop("interrupted")}, settle=SETTLE)
    assert bench.trace.when("call cleanup t") == near(*asked)


def test_in_the_process_that_has_asked_for_it_the_answer_counts(bench: Bench) -> None:
    bench.world.endings["t"], bench.executor.takes["run_task"] = Ending(polls=FOR_EVER), 3.0
    bench.go([endpoint("e")], [task("t", on="e")], at={11.0: lambda run: run.stop("interrupted")}, settle=SETTLE)
    assert bench.trace.when("call cleanup t") == near(11, 8 + SETTLE) and bench.trace.when("call cleanup e") == near(11)


@pytest.mark.parametrize(("takes", "state"), [(1.0, "created"), (60.0, "unknown")])
def test_a_stop_in_the_middle_of_a_create_call(bench: Bench, takes: float, state: str) -> None:
    bench.executor.takes["deploy"] = takes
    bench.go(at={0.5: lambda run: run.stop("interrupted")})
    seconds = takes if state == "created" else 0.5 + calls.STOP_GRACE
    assert bench.trace.when(f"endpoint a {state}") == near(seconds)
    assert bench.trace.order("endpoint a unknown", "endpoint a created", "endpoint a deleting", "endpoint a gone") == [
        f"endpoint a {state}",
        "endpoint a deleting",
        "endpoint a gone",
    ]


@pytest.mark.parametrize(
    "place",
    [
        *("intent.before", "intent.after", "create.answered", "create.recorded"),
        *("result.known", "result.stored", "delete.before", "delete.proven"),
    ],
)
def test_a_fault_at_each_place_ends_the_run_and_leaves_nothing(bench: Bench, place: str) -> None:
    failpoints.arm(f"{place}:1:raise")
    try:
        done = bench.go()
    finally:
        failpoints.arm("")
    assert done.fatal is not None and "Failpoint" in str(done.fatal) and not bench.world.alive and not done.left


def test_a_stop_before_the_create_call_leaves_nothing_to_look_for(bench: Bench) -> None:
    bench.trace.react = lambda what: bench.driver.stop("interrupted") if what == "endpoint a intent" else None
    bench.go(settle=SETTLE)
    assert bench.trace.order("endpoint a intent", "call deploy a", "endpoint a unknown", "call cleanup a", "endpoint a gone") == [
        "endpoint a intent",
        "endpoint a gone",
    ]


# ---------------------------------------------------------------------- deleting


@pytest.mark.parametrize("settle", [0.0, SETTLE])
def test_what_is_known_to_exist_is_deleted_once(bench: Bench, settle: float) -> None:
    bench.go([endpoint("e")], [task("t", on="e")], settle=settle)
    assert bench.trace.when("call cleanup t") == near(10) == bench.trace.when("call cleanup e")


def test_what_does_not_go_is_a_suspected_leak(bench: Bench) -> None:
    bench.world.polls_until_gone = FOR_EVER
    done = bench.go()
    assert bench.trace.when("job a leak_suspected") == near(10 + lifecycle.CLEANUP_DEADLINE)
    assert bench.trace.reasons("job a leak_suspected") == ["still there 300 s after it was deleted"]
    assert len(done.left) == 2 == len(bench.world.alive)


def test_why_it_could_not_be_deleted_is_told(bench: Bench) -> None:
    bench.world.add(Fault("cleanup", error=EndpointFailed("the platform says no"), times=None))
    bench.go()
    assert bench.trace.reasons("job a leak_suspected") == ["the platform says no"] == bench.trace.reasons("endpoint a leak_suspected")


def test_secrets_are_taken_out_of_logs_once_nobody_writes_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", lambda: [("canary", "sk-canary-123456")])
    folders: list[Path] = []

    def write(run: Driver) -> None:
        (job,) = run.ledger.forgotten[1:]
        folders.extend([bench.run.task_dir(job.spec), bench.run.directory / "endpoints" / "000-a"])  # type: ignore[arg-type]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "x.log").write_text("sk-canary-123456")
            (folder / "x.txt").write_text("sk-canary-123456")

    bench.go(at={7.0: write})
    assert len(folders) == 2
    for folder in folders:
        assert "canary" not in (folder / "x.log").read_text()
        assert "canary" in (folder / "x.txt").read_text(), "results were masked when they were read"


# ---------------------------------------------------------------------- what belongs to the run as a whole


def test_a_teardown_is_asked_for_until_it_is_done(bench: Bench) -> None:
    bench.executor.torn = [False, False]
    done = bench.go()
    assert bench.trace.when("call teardown") == near(10, 10.2, 10.4) and done.left == ()


def test_a_teardown_that_fails_is_a_warning(bench: Bench) -> None:
    bench.executor.torn = [EndpointFailed("the platform says no", "ask them")]
    done = bench.go()
    assert bench.trace.reasons("warning  ") == ["what belongs to the run as a whole may not be gone: the platform says no (hint: ask them)"]
    assert done.left == (f"what belongs to run {bench.run.run_id} as a whole",)
    assert [event.kind for event in bench.trace.events if event.kind == "warning"] == ["warning"]


def test_a_teardown_has_its_time(bench: Bench) -> None:
    bench.executor.torn = [TransientError("busy", 100.0)] * 9
    bench.go()
    assert bench.trace.when("call teardown") == near(10, 110, 210)
