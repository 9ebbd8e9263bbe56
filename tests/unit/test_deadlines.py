"""No wait is without an end: whatever a hook does or does not, the run is over by a time that can be told, and says what is left.

What the driver waits for, and what ends it:

    a hook call to create, look or collect    the deadline of the endpoint or task; STOP_GRACE once the run is stopped
    the pause until the next look or try      the same, and the stop
    silence where progress was told           execution.no_progress_timeout
    a task's last look, and its cancelling    LAST_LOOK
    an endpoint's, whether it is to blame     LAST_LOOK
    a resource to be gone, a teardown         CLEANUP_DEADLINE; and the settle window, if it is not known whether it exists
    its turn (max_endpoints, max_tasks)       those before it, each of which ends
    the others (start: all_ready)             those, each of which ends; and the stop
    a commit                                  the loop's next turn; SQLite's own BUSY_SECONDS
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from evalx import calls, driver, ledger, lifecycle
from evalx.context import RunContext
from evalx.driver import Driver
from evalx.errors import TransientError
from evalx.hookspecs import hookimpl
from evalx.model import EndpointSpec, Limits, TaskHandle, TaskResult, TaskSpec
from evalx.store import Store
from evalx.testing import Ending, Fault, InMemoryExecutor, World, make_run

from .virtual import Clock, Hangs, VirtualLoop, VirtualPool, run

READY, TIMEOUT, SETTLE = 600.0, 900.0, 10.0
UP = READY
"""Seconds until an endpoint answers or is given up."""

OVER = TIMEOUT + driver.HARD_STOP_SLACK + driver.LAST_LOOK + driver.CANCEL_GRACE
"""The same for a task, from its submission."""

GONE = lifecycle.CLEANUP_DEADLINE + SETTLE
"""The same for what is deleted."""

A_LITTLE = 15.0
"""A look that was under way, a pause that had begun."""


@define(eq=False)
class Executor(InMemoryExecutor):
    """Also tears down and cancels, and makes its calls in virtual time."""

    loop: VirtualLoop | None = None
    stays: bool = False
    silent: bool = False

    @hookimpl
    def make_pool(self, run: RunContext) -> VirtualPool:
        assert self.loop is not None
        return VirtualPool(self.loop)

    @hookimpl
    def cancel(self, run: RunContext, handle: TaskHandle) -> bool:
        self._enter("cancel", handle.spec)
        return True

    @hookimpl
    def teardown(self, run: RunContext) -> bool:
        fault = self.world.enter("teardown", "")
        if fault is not None and fault.error is not None:
            raise fault.error
        return not self.stays

    @hookimpl
    def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:
        if self.silent:
            run.report(handle, "running", done=1, total=2)
            return None
        return super().collect(run, handle)


@define
class Case:
    """What goes on for ever, and how long the whole run may take then."""

    name: str
    bound: float
    hook: str = ""
    error: BaseException | None = None
    change: Callable[[World, Executor], None] = lambda world, executor: None
    left: bool = False
    limits: Limits = field(factory=Limits)


def never_over(world: World, executor: Executor) -> None:
    world.endings["a"] = Ending(polls=10**9)


def silent(world: World, executor: Executor) -> None:
    executor.silent = True


def slow(world: World, executor: Executor) -> None:
    world.polls_until_ready = 10**9


CASES = [
    Case("deploy hangs", UP + GONE, "deploy", Hangs()),
    Case("deploy is refused", UP + GONE, "deploy", TransientError("busy")),
    Case("deploy may be tried in a year", GONE, "deploy", TransientError("busy", retry_after=3e7)),
    Case("wait_ready hangs", UP + GONE, "wait_ready", Hangs()),
    Case("wait_ready is refused", UP + GONE, "wait_ready", TransientError("busy")),
    Case("never ready", UP + GONE, change=slow),
    Case("run_task hangs", UP + OVER + 2 * GONE, "run_task", Hangs()),
    Case("run_task is refused", UP + OVER + 2 * GONE, "run_task", TransientError("busy")),
    Case("collect hangs", UP + OVER + 2 * GONE, "collect", Hangs()),
    Case("collect is refused", UP + OVER + 2 * GONE, "collect", TransientError("busy")),
    Case("never over", UP + OVER + 2 * GONE, change=never_over),
    Case("never over, cancel hangs", UP + OVER + 2 * GONE, "cancel", Hangs(), change=never_over),
    Case("never over, cancel is refused", UP + OVER + 2 * GONE, "cancel", TransientError("busy"), change=never_over),
    Case("cleanup hangs", 2 * GONE, "cleanup", Hangs(), left=True),
    Case("cleanup is refused", 2 * GONE, "cleanup", TransientError("busy"), left=True),
    Case("never gone", 2 * GONE, change=lambda world, executor: setattr(world, "polls_until_gone", 10**9), left=True),
    Case("teardown hangs", GONE, "teardown", Hangs(), left=True),
    Case("teardown is refused", GONE, "teardown", TransientError("busy"), left=True),
    Case("never torn down", GONE, change=lambda world, executor: setattr(executor, "stays", True), left=True),
    Case("no progress", 120.0 + OVER - TIMEOUT + GONE, change=silent, limits=Limits(no_progress=120.0)),
    Case("max_duration, never ready", 60.0 + calls.STOP_GRACE + GONE, change=slow, limits=Limits(max_duration=60.0)),
    Case(
        "max_duration, never over", 60.0 + calls.STOP_GRACE + driver.LAST_LOOK + GONE, change=never_over, limits=Limits(max_duration=60.0)
    ),
    Case(
        "max_duration, collect hangs",
        60.0 + calls.STOP_GRACE + driver.LAST_LOOK + GONE,
        "collect",
        Hangs(),
        limits=Limits(max_duration=60.0),
    ),
    Case("max_duration, deploy hangs", 60.0 + calls.STOP_GRACE + GONE, "deploy", Hangs(), limits=Limits(max_duration=60.0)),
    Case("one at a time, each hangs", 2 * (UP + GONE), "deploy", Hangs(), limits=Limits(max_endpoints=1)),
]


class Bench:
    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock = path, clock
        self.world = World(poll_interval=5.0)
        self.executor = Executor(self.world)
        self.driver: Driver

    def go(self, *, start: str = "pipelined", limits: Limits | None = None, stop_after: float | None = None) -> float:
        """Runs two tasks, each with an endpoint; returns the virtual seconds that it took."""
        endpoints = [EndpointSpec(name, index, "memory", "m", ready_timeout=READY) for index, name in enumerate("ab")]
        tasks = [TaskSpec(name, index, "memory", name, timeout=TIMEOUT) for index, name in enumerate("ab")]
        context = make_run(self.path, self.executor, endpoints, tasks, start=start, limits=limits)
        began = self.clock.now

        async def work(loop: VirtualLoop) -> None:
            self.executor.loop = loop
            with Store(now=self.clock.time) as store, store.create(context.plan, context.directory, "") as journal:
                self.driver = Driver(context, journal, context.plugins.hooks(context), settle=SETTLE)
                if stop_after is not None:
                    loop.call_later(stop_after, lambda: self.driver.stop("interrupted"))
                await self.driver.execute()

        run(self.clock, work)
        return self.clock.now - began


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    clock = Clock()
    monkeypatch.setattr(ledger, "time", clock)
    return Bench(tmp_path, clock)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_every_wait_ends(bench: Bench, case: Case) -> None:
    if case.hook:
        bench.world.add(Fault(case.hook, error=case.error, times=None))
    case.change(bench.world, bench.executor)
    assert bench.go(limits=case.limits) <= case.bound + A_LITTLE
    assert bool(bench.driver.left) is case.left
    assert set(bench.world.alive) <= set(bench.driver.left), "what is left is told"
    assert len(bench.driver.ledger.results) == 2, "each task has an end"


@pytest.mark.parametrize("hook", ["deploy", "wait_ready", "run_task", "collect"])
@pytest.mark.parametrize("error", [Hangs(), TransientError("busy")], ids=["hangs", "refused"])
def test_a_stop_waits_for_no_hook(bench: Bench, hook: str, error: BaseException) -> None:
    bench.world.add(Fault(hook, error=error, times=None))
    took = bench.go(stop_after=30.0)
    assert took <= 30.0 + calls.STOP_GRACE + driver.LAST_LOOK + SETTLE + A_LITTLE
    assert not bench.driver.left and not bench.world.alive


def test_nobody_waits_for_ever_for_the_others(bench: Bench) -> None:
    bench.world.add(Fault("wait_ready", "a", error=Hangs(), times=None))
    assert bench.go(start="all_ready") <= UP + OVER + 2 * GONE + A_LITTLE
    assert {result.spec.name: result.outcome for result in bench.driver.ledger.results.values()} == {"a": "skipped", "b": "passed"}


def test_a_stop_ends_the_waiting_for_the_others(bench: Bench) -> None:
    bench.world.add(Fault("wait_ready", "a", error=Hangs(), times=None))
    assert bench.go(start="all_ready", stop_after=30.0) <= 30.0 + calls.STOP_GRACE + driver.LAST_LOOK + SETTLE + A_LITTLE


def test_a_wait_without_end_would_be_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ablation: with a wait that nothing ends, the loop has nothing to go on to."""

    async def for_ever(self: Any, seconds: float) -> None:
        await asyncio.get_running_loop().create_future()

    async def quiet(self: Any) -> None:
        return

    monkeypatch.setattr(calls.Calls, "pause", for_ever)
    monkeypatch.setattr(Driver, "_heartbeat", quiet)
    with pytest.raises(AssertionError, match="nothing is due"):
        bench.go()
