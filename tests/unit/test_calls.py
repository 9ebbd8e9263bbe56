"""How hooks are called, in virtual time: when each try is made, what ends the waiting, and what is then known of the call."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import pytest

from evalx.calls import STOP_GRACE, Calls, Stopped, backoff, named
from evalx.errors import AuthError, DeadlineExceeded, PluginError, TransientError

from .virtual import Clock, Hangs, VirtualLoop, VirtualPool, run

T = TypeVar("T")
LATENCY = 1.0


def busy(retry_after: float | None = None) -> TransientError:
    error = TransientError("busy", retry_after)
    error.hint = "wait a little"
    return error


class Queue(Executor):
    """A pool that is full: what is submitted waits, and begins when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        self.waiting.append((future, lambda: call(*args, **kwargs)))
        return future

    def fail_first(self, error: Exception) -> None:
        self.waiting.pop(0)[0].set_exception(error)


class Hook:
    """Answers with what it is given, one after the other, the last for ever. times: the virtual seconds at which it was called."""

    def __init__(self, clock: Clock, *answers: object) -> None:
        self.clock, self.answers = clock, list(answers)
        self.times: list[float] = []

    def __call__(self) -> object:
        self.times.append(round(self.clock.now, 3))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.stopping = threading.Event()
        self.retried: list[TransientError] = []
        self.complaints: list[str] = []
        """What asyncio has to say of callbacks that failed."""
        self.calls: Calls
        self.loop: VirtualLoop

    def go(self, work: Callable[[Bench], Awaitable[T]], pool: Executor | None = None) -> T:
        async def inside(loop: VirtualLoop) -> T:
            self.loop = loop
            loop.set_exception_handler(lambda _, context: self.complaints.append(context["message"]))
            self.calls = Calls(pool or VirtualPool(loop, lambda: LATENCY), self.stopping)
            return await work(self)

        try:
            return run(self.clock, inside)
        finally:
            assert self.complaints == []

    def work(self, hook: Hook, deadline: float = 1000.0) -> Awaitable[object]:
        return self.calls.work("deploy", hook, deadline, self.retried.append)

    def stop_at(self, seconds: float) -> None:
        self.loop.call_at(seconds, self.calls.stop)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    return Bench()


# ---------------------------------------------------------------------- tries


@pytest.mark.parametrize("way", ["work", "insist"])
def test_tries_are_made_ever_more_seldom(bench: Bench, way: str) -> None:
    hook = Hook(bench.clock, *[busy()] * 9, "done")

    async def work(bench: Bench) -> object:
        return await getattr(bench.calls, way)("deploy", hook, 1000.0)

    assert bench.go(work) == "done"
    pauses = [round(later - earlier - LATENCY, 3) for earlier, later in zip(hook.times, hook.times[1:], strict=False)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_spreads_tries_over_half_of_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    monkeypatch.setattr(random, "uniform", uniform)
    assert [backoff(0), backoff(1), backoff(0, 0.1), backoff(0, 7.0)] == [0.25, 0.5, 0.25, 7.0]
    assert set(asked) == {(0.5, 1.0)}


def test_what_the_other_side_asks_for_is_waited_and_each_try_is_told(bench: Bench) -> None:
    errors = [busy(20.0), busy()]
    hook = Hook(bench.clock, *errors, 7)
    assert bench.go(lambda bench: bench.work(hook)) == 7
    assert hook.times == [1.0, 22.0, 24.0]
    assert bench.retried == errors


@pytest.mark.parametrize("way", ["work", "insist"])
@pytest.mark.parametrize(("deadline", "tries"), [(3.4, 2), (6.4, 3)])
def test_no_try_is_begun_after_the_deadline(bench: Bench, way: str, deadline: float, tries: int) -> None:
    """Tries are over at 1, 2.5 and 4.5; what would begin too late is not waited for."""
    hook = Hook(bench.clock, busy())

    async def work(bench: Bench) -> object:
        return await getattr(bench.calls, way)("deploy", hook, deadline)

    with pytest.raises(DeadlineExceeded) as caught:
        bench.go(work)
    assert len(hook.times) == tries and bench.clock.now == pytest.approx(hook.times[-1], abs=1e-3)
    assert (caught.value.message, caught.value.hint) == ("deploy: gave up, last error: busy", "wait a little")
    assert isinstance(caught.value.__cause__, TransientError)


@pytest.mark.parametrize("way", ["work", "insist"])
def test_other_errors_are_not_tried_again(bench: Bench, way: str) -> None:
    hook = Hook(bench.clock, AuthError("401"))
    with pytest.raises(AuthError):
        bench.go(lambda bench: getattr(bench.calls, way)("deploy", hook, 1000.0))
    assert len(hook.times) == 1


@pytest.mark.parametrize("way", ["work", "insist"])
@pytest.mark.parametrize(("before", "deadline", "over"), [([], 40.0, 40.0), ([busy()], 40.0, 40.0), ([], -5.0, 0.0)])
def test_a_call_that_hangs_ends_at_the_deadline(bench: Bench, way: str, before: list[TransientError], deadline: float, over: float) -> None:
    with pytest.raises(DeadlineExceeded, match=r"^deploy: the executor's hook did not return in time$") as caught:
        bench.go(lambda bench: getattr(bench.calls, way)("deploy", Hook(bench.clock, *before, Hangs()), deadline))
    assert (caught.value.hint or "").endswith("evalx doctor")
    assert bench.clock.now == pytest.approx(over, abs=1e-3)


def test_a_call_that_could_not_begin_in_time_never_does(bench: Bench) -> None:
    pool = Queue()
    with pytest.raises(DeadlineExceeded):
        bench.go(lambda bench: bench.work(Hook(bench.clock, 1), 5.0), pool)
    assert pool.waiting[0][0].cancelled()


# ---------------------------------------------------------------------- a stop


def test_a_stop_reaches_hooks_and_waits(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        assert not bench.calls.stopped
        bench.stop_at(3.0)
        with pytest.raises(Stopped):
            await bench.calls.pause(100.0)
        assert bench.calls.stopped
        bench.calls.stop()

    bench.go(work)
    assert bench.clock.now == 3.0 and bench.stopping.is_set()


def test_who_no_longer_waits_for_the_stop_does_not_end_it(bench: Bench) -> None:
    async def work(bench: Bench) -> None:
        waits = asyncio.ensure_future(bench.calls.until_stopped())
        await asyncio.sleep(0)
        assert not waits.done()
        waits.cancel()
        await asyncio.sleep(0)
        assert not bench.calls.stopped
        bench.stop_at(1.0)
        await bench.calls.until_stopped()

    bench.go(work)


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 5.0])
def test_a_pause_lasts_as_long_as_it_says(bench: Bench, seconds: float) -> None:
    bench.go(lambda bench: bench.calls.pause(seconds))
    assert bench.clock.now == pytest.approx(max(seconds, 0.0), abs=1e-3)


def test_a_run_that_is_being_stopped_begins_nothing(bench: Bench) -> None:
    bench.stopping.set()
    hook = Hook(bench.clock, 1)
    with pytest.raises(Stopped) as caught:
        bench.go(lambda bench: bench.work(hook))
    assert not caught.value.unknown and not hook.times


def test_a_stop_between_tries_leaves_the_outcome_unknown(bench: Bench) -> None:
    async def work(bench: Bench) -> object:
        bench.stop_at(1.2)
        return await bench.work(Hook(bench.clock, busy()))

    with pytest.raises(Stopped) as caught:
        bench.go(work)
    assert caught.value.unknown and bench.clock.now == 1.2


def test_a_call_under_way_gets_a_little_time(bench: Bench) -> None:
    async def work(bench: Bench) -> object:
        bench.stop_at(0.5)
        return await bench.work(Hook(bench.clock, "done"))

    assert bench.go(work) == "done"
    assert bench.clock.now == LATENCY


def test_what_is_deaf_to_the_stop_is_unknown(bench: Bench) -> None:
    async def work(bench: Bench) -> object:
        bench.stop_at(2.0)
        return await bench.work(Hook(bench.clock, Hangs()))

    with pytest.raises(Stopped) as caught:
        bench.go(work)
    assert caught.value.unknown and bench.clock.now == 2.0 + STOP_GRACE


@pytest.mark.parametrize("tried", [False, True])
def test_what_had_not_begun_is_known_unless_there_was_a_try_before(bench: Bench, tried: bool) -> None:
    pool = Queue()

    async def work(bench: Bench) -> object:
        if tried:
            bench.loop.call_at(0.1, pool.fail_first, busy())
        bench.stop_at(5.0)
        return await bench.work(Hook(bench.clock, 1))

    with pytest.raises(Stopped) as caught:
        bench.go(work, pool)
    assert caught.value.unknown is tried and bench.clock.now == 5.0
    assert [future.cancelled() for future, _ in pool.waiting] == [True]


def test_cleaning_up_goes_on_after_a_stop(bench: Bench) -> None:
    async def work(bench: Bench) -> object:
        bench.calls.stop()
        return await bench.calls.insist("cleanup", Hook(bench.clock, busy(), True), 100.0)

    assert bench.go(work) is True


# ---------------------------------------------------------------------- a question at the terminal


@pytest.mark.parametrize(
    ("what", "seconds", "over", "at"), [("deploy", 0.4, False, 0.4), ("deploy", 9.0, True, 1.0), ("wait_ready", 9.0, True, 0.0)]
)
def test_a_hold_waits_for_what_changes_something(bench: Bench, what: str, seconds: float, over: bool, at: float) -> None:
    async def work(bench: Bench) -> None:
        assert await bench.calls.hold(seconds), "nothing is under way"
        bench.calls.release()
        call = asyncio.ensure_future(bench.calls.work(what, Hook(bench.clock, 1), 100.0))
        await asyncio.sleep(0)
        assert await bench.calls.hold(seconds) is over
        assert bench.clock.now == pytest.approx(at, abs=1e-3)
        bench.calls.release()
        assert await call == 1
        assert await bench.calls.hold(0.0), "what is over is not under way"

    bench.go(work)


@pytest.mark.parametrize("way", ["work", "insist", "pause"])
def test_nothing_begins_while_it_is_held(bench: Bench, way: str) -> None:
    async def work(bench: Bench) -> None:
        hook = Hook(bench.clock, 1)
        await bench.calls.hold(1.0)
        bench.loop.call_at(50.0, bench.calls.release)
        await (bench.calls.pause(2.0) if way == "pause" else getattr(bench.calls, way)("cleanup", hook, 100.0))
        assert bench.clock.now >= 50.0
        assert way == "pause" or hook.times == [51.0]

    bench.go(work)


# ---------------------------------------------------------------------- whose fault it is


def test_an_exception_of_a_plugin_is_named(bench: Bench) -> None:
    def faulty() -> None:
        error = KeyError("surprise")
        error.add_note("seen in a")
        error.add_note("and b")
        raise error

    with pytest.raises(PluginError) as caught:
        named("deploy", faulty)
    assert caught.value.message == "deploy: KeyError: 'surprise' (seen in a; and b)"
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(PluginError, match=r"^collect: ZeroDivisionError: division by zero$"):
        named("collect", lambda: 1 / 0)
    for way in ("work", "insist"):
        with pytest.raises(PluginError, match=r"^deploy: KeyError"):
            bench.go(lambda bench, way=way: getattr(bench.calls, way)("deploy", faulty, 9.0))  # type: ignore[misc]
    refused = AuthError("401")
    with pytest.raises(AuthError) as own:
        named("deploy", Hook(Clock(), refused))
    assert own.value is refused
